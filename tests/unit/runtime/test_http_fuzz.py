"""Nearly valid bodies are never answered with 500; `make fuzz-http N=20000` sends more of them."""

from tests.unit.runtime.http_fuzz import run


def test_bodies_that_are_nearly_valid_are_answered_or_refused() -> None:
    told = run(400)
    good = {path for path, status in told if status == 200}
    assert good == {"/chat", "/v1/chat/completions", "/v1/completions"}
    assert any(status == 400 for _, status in told)
