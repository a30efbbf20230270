"""The page at / in a real browser: chat, stream, stop, side by side, settings, keyboard, dark mode."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from kaito_runtime.serving.http.auth import ApiKeys
from kaito_runtime.serving.http.page import page
from kaito_runtime.serving.http.state import ServerState

from tests.harness.browser import Browser, Tab, browser, chromium
from tests.harness.echo_engine import EchoEngine
from tests.harness.http_server import eventually, http_server

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def get(url: str, **headers: str) -> tuple[str, str, str]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        policy = answer.headers.get("Content-Security-Policy", "")
        return answer.headers["Content-Type"], answer.read().decode(), policy


def test_a_browser_gets_the_page_and_a_program_gets_json() -> None:
    with http_server(ServerState("text-generation", engine=EchoEngine())) as url:
        for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            kind, body, _ = get(url, **accept)
            assert (kind, json.loads(body)) == (
                "application/json",
                {"message": "Server is running"},
            )
        kind, body, policy = get(url, **HTML)
    assert kind == "text/html; charset=utf-8"
    assert body.startswith("<!doctype html>")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_loads_nothing_and_holds_no_style_that_its_policy_forbids() -> None:
    html = page("chat.html").content.decode()
    assert "http://" not in html
    assert "https://" not in html
    assert " style=" not in html
    assert " onclick=" not in html


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with browser(program) as running:
        yield running


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine(adapters=["poet"])


@pytest.fixture
def state(engine: EchoEngine) -> ServerState:
    return ServerState("text-generation", engine=engine)


@pytest.fixture
def tab(chrome: Browser, state: ServerState) -> Iterator[Tab]:
    with http_server(state) as url, chrome.tab() as tab:
        tab.open(url)
        if state.keys is None:
            tab.until("document.querySelectorAll('#model-0 option').length > 0")
        yield tab


def answers(tab: Tab, column: int = 0) -> list[str]:
    told = tab.value(
        f"[...document.querySelectorAll('#turns-{column} .assistant')].map(e => e.firstChild.data)"
    )
    return [str(text) for text in told]


def asked(tab: Tab, question: str) -> None:
    tab.until("!document.querySelector('#send').hidden")
    tab.value("document.querySelector('#question').focus()")
    tab.type(question)
    tab.press("Enter")
    tab.until("!document.querySelector('#send').hidden")


def test_a_question_is_answered_and_the_conversation_goes_on(tab: Tab, engine: EchoEngine) -> None:
    assert tab.focused() == "question"
    asked(tab, "Where does it live?")
    asked(tab, "And where does it sleep?")
    assert answers(tab) == ["Where does it live?", "And where does it sleep?"]
    assert "5 tokens, first after" in tab.text()
    second = engine.requests[1].prompt.messages
    assert [message["role"] for message in second] == ["user", "assistant", "user"]
    tab.click("#fresh")
    asked(tab, "Anew")
    assert len(engine.requests[2].prompt.messages) == 1
    assert tab.problems == []


@pytest.mark.parametrize("way", ["Escape", "button"])
def test_an_answer_is_shown_while_it_comes_and_can_be_stopped(
    tab: Tab, engine: EchoEngine, way: str
) -> None:
    engine.holds, engine.hold_after = True, 1
    tab.type("one two")
    tab.press("Enter")
    tab.until("document.querySelector('#turns-0 .writes')?.firstChild?.data === 'one'")
    if way == "Escape":
        tab.press("Escape")
    else:
        tab.click("#stop")
    eventually(lambda: not engine.running)
    tab.until("!document.querySelector('#send').hidden")
    assert "stopped" in tab.text()
    assert tab.problems == []


def test_base_and_adapter_answer_side_by_side(tab: Tab, engine: EchoEngine) -> None:
    tab.click("#compare")
    options = tab.value("[...document.querySelectorAll('#model-1 option')].map(o => o.textContent)")
    assert options == ["default", "echo (base)", "poet (adapter)"]
    tab.value("document.querySelector('#model-0').value = 'poet'")
    asked(tab, "Which of you?")
    assert answers(tab, 0) == answers(tab, 1) == ["Which of you?"]
    assert {request.adapter for request in engine.requests} == {"poet", ""}
    left, right = tab.value(
        "[0, 1].map(n => document.querySelector(`#turns-${n}`).getBoundingClientRect().left)"
    )
    assert left < right
    assert tab.problems == []


def test_settings_reach_the_engine_and_are_remembered(
    tab: Tab, engine: EchoEngine, state: ServerState
) -> None:
    tab.click("#open")
    for name, text in {
        "temperature": "0.5",
        "max_tokens": "2",
        "seed": "7",
        "system": "Short.",
    }.items():
        tab.value(f"document.querySelector('#{name}').focus()")
        tab.type(text)
    tab.press("Escape")
    tab.until("!document.querySelector('#settings').open")
    asked(tab, "one two three")
    (request,) = engine.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.seed) == (0.5, 2, 7)
    assert request.prompt.messages[0] == {"role": "system", "content": "Short."}
    tab.call("Page.reload")
    tab.until("document.querySelector('#temperature')?.value === '0.5'")


def test_text_can_be_continued_by_a_model_without_a_chat_template(
    tab: Tab, engine: EchoEngine
) -> None:
    tab.value("document.querySelector('#mode').value = 'text'")
    asked(tab, "The otter lives")
    assert answers(tab) == ["The otter lives"]
    assert engine.requests[0].prompt.text == "The otter lives"


def test_an_error_is_told_in_the_words_of_the_server(tab: Tab, engine: EchoEngine) -> None:
    engine.is_full = True
    asked(tab, "Where?")
    told = tab.value("document.querySelector('#turns-0 .bad').textContent")
    assert told == "Too many requests are waiting; try again"


@pytest.mark.parametrize("state", [ServerState("text-generation", keys=ApiKeys("a-good-key"))])
def test_where_a_key_is_demanded_the_page_asks_for_it(
    tab: Tab, state: ServerState, engine: EchoEngine
) -> None:
    state.engine = engine
    tab.until("document.querySelector('#settings').open")
    assert tab.focused() == "key"
    tab.type("a-good-key")
    tab.press("Enter")
    tab.until("document.querySelectorAll('#model-0 option').length > 0")
    asked(tab, "Where?")
    assert answers(tab) == ["Where?"]


def test_a_line_begins_with_shift_and_enter(tab: Tab, engine: EchoEngine) -> None:
    tab.type("one")
    tab.press("Enter", modifiers=8)
    tab.type("two")
    assert tab.value("document.querySelector('#question').value") == "one\ntwo"
    assert engine.requests == []


def test_all_controls_are_reached_by_the_keyboard_in_their_order(tab: Tab) -> None:
    tab.value("document.querySelector('#compare').focus()")
    reached = ["compare"]
    for _ in range(6):
        tab.press("Tab")
        reached.append(tab.focused())
    assert reached == ["compare", "fresh", "open", "model-0", "turns-0", "question", "send"]


def test_the_page_is_dark_where_that_is_preferred(tab: Tab) -> None:
    def brightness() -> int:
        colour = tab.value("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    tab.prefer("light")
    light = brightness()
    tab.prefer("dark")
    assert brightness() < light / 2


def test_the_documentation_is_shown(chrome: Browser, state: ServerState) -> None:
    with http_server(state) as url, chrome.tab() as tab:
        tab.open(f"{url}/docs")
        tab.until("document.querySelectorAll('h2').length > 5")
        assert "POST /v1/chat/completions" in tab.text()
        assert "messages" in tab.text()
        assert tab.problems == []
