from tests.stories.test_examples import *  # noqa: F403
