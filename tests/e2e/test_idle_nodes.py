from stories.test_idle_nodes import *  # noqa: F403
