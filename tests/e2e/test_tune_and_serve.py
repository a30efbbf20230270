from tests.stories.test_tune_and_serve import *  # noqa: F403
