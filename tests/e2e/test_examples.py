from stories.test_examples import *  # noqa: F403
