from stories.test_many import *  # noqa: F403
