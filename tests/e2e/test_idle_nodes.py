from tests.stories.test_idle_nodes import *  # noqa: F403
