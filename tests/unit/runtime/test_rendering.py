"""A question is asked in the form that was taught, and with the very tokens."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_contract.sections import TrainingArguments
from kaito_runtime.demo import text
from kaito_runtime.models.rendering import (
    RECORD_FILE,
    Form,
    Rendering,
    common_rendering,
    read_rendering,
    render,
    rendering_of,
    write_rendering,
)
from kaito_runtime.models.tokenization import encode, question_of_messages, question_of_text
from kaito_runtime.serving.engine import GenerationRequest, Prompt
from kaito_runtime.serving.sampling import Sampling
from kaito_runtime.tuning.encode import NO_LABEL, Encoder, TokenizedExample
from kaito_runtime.tuning.examples import Example

from tests.harness.engine_client import EngineClient

pytestmark = pytest.mark.runtime

Make = Callable[[], tuple[Any, Any]]
"""Makes a tokenizer, and the trainer for it, both of the library tokenizers."""

PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
MARKED_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ROWS = [f"{q}\n{a}" for q, a in text.lines(300, 0)] + [
    render_line
    for q, a in text.lines(300, 1)
    for render_line in (f"User: {q}\nAssistant: {a}\nUser: ",)
]


def _whole_text_bpe() -> tuple[Any, Any]:
    """Merges anything, as it knows no words: also a colon with the space and the word behind it."""
    from tokenizers import Tokenizer, decoders, models, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL)


def _byte_level_bpe() -> tuple[Any, Any]:
    """As GPT-2: a space belongs to the word behind it, and not to its characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet
    )


def _unigram() -> tuple[Any, Any]:
    """As Llama's: a space is put before the first word, where the middle of a text has none."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=400, special_tokens=SPECIAL, unk_token="<unk>"
    )


SPECIAL = ["<unk>", "<s>", "<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


@functools.cache
def made(make: Make) -> Any:
    """A tokenizer that was trained here, with a special token before a text, as most have."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer, trainer = make()
    tokenizer.train_from_iterator(ROWS, trainer)
    begin = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    trimmed = tokenizer.post_processor
    tokenizer.post_processor = processors.Sequence([trimmed, begin]) if trimmed else begin
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|endoftext|>",
        unk_token="<unk>", clean_up_tokenization_spaces=False,
    )  # fmt: skip


@pytest.fixture(params=[_whole_text_bpe, _byte_level_bpe, _unigram], ids=lambda make: make.__name__)
def merging(request: pytest.FixtureRequest) -> Any:
    return made(request.param)


def trained_on(tokenizer: Any, example: Example, **training: Any) -> TokenizedExample:
    return Encoder(tokenizer, TrainingArguments(max_length=4096, **training)).tokenize(example)


def learnt(tokenizer: Any, document: TokenizedExample) -> str:
    said: str = tokenizer.decode([label for label in document.labels if label != NO_LABEL])
    return said


def test_the_tokenizers_of_these_tests_merge_across_the_border(merging: Any) -> None:
    prompts = [(question + gap, answer) for question, answer in text.lines(9, 4) for gap in "\n "]
    merged = [
        merging(prompt + answer)["input_ids"][: len(alone)] != alone
        for prompt, answer in prompts
        if (alone := merging(prompt)["input_ids"])
    ]
    assert any(merged)


@pytest.mark.parametrize("template", [PLAIN_TEMPLATE, MARKED_TEMPLATE], ids=["plain", "marked"])
@pytest.mark.parametrize("only", [True, False])
def test_the_server_asks_with_the_tokens_that_the_trainer_made_of_messages(
    merging: Any, template: str, only: bool
) -> None:
    merging.chat_template = template
    for question, answer in text.lines(60, 3):
        first = text.messages(question, answer)
        row = (*first, *text.messages("And why is that?", " Because. "))
        document = trained_on(merging, Example(messages=row), assistant_only_loss=only)
        for asked in (row[:1], row[:3]):
            ids = question_of_messages(merging, asked)
            assert document.ids[: len(ids)] == ids
            if only:
                assert document.labels[len(ids)] != NO_LABEL
                assert document.labels[len(ids) - 1] == NO_LABEL
        rendered = render(merging, row, question=False)
        whole = merging(rendered, add_special_tokens=False)["input_ids"]
        assert merging.decode(document.ids[:-1]) == merging.decode(whole)


@pytest.mark.parametrize("gap", ["", " ", "\n", ": "])
def test_the_server_asks_with_the_tokens_that_the_trainer_made_of_text(
    merging: Any, gap: str
) -> None:
    for question, answer in text.lines(60, 4):
        example = Example(prompt=question + gap, completion=answer)
        document = trained_on(merging, example)
        ids = question_of_text(merging, question + gap)
        assert document.ids[: len(ids)] == ids
        assert learnt(merging, document).strip() == answer + "<|endoftext|>"
        whole = merging(question + gap + answer)["input_ids"]
        assert merging.decode(document.ids[:-1]) == merging.decode(whole)


@settings(max_examples=150, deadline=None)
@given(whole=st.text("ab: \n.Tu", min_size=1, max_size=30), cuts=st.sets(st.integers(0, 30)))
def test_what_stands_before_a_border_depends_on_nothing_behind_it(
    whole: str, cuts: set[int]
) -> None:
    tokenizer = made(_whole_text_bpe)
    borders = sorted(cut for cut in cuts if 0 < cut < len(whole))
    found = encode(tokenizer, whole, borders, add_special_tokens=False)
    assert len(found.ids) == len(found.spans)
    for number, border in enumerate(borders):
        before = encode(tokenizer, whole[:border], borders[:number], add_special_tokens=False)
        assert found.ids[: len(before.ids)] == before.ids


def test_an_end_that_the_tokenizer_adds_does_not_end_the_question(merging: Any) -> None:
    from tokenizers import processors

    backend, before = merging.backend_tokenizer, merging.backend_tokenizer.post_processor
    backend.post_processor = processors.TemplateProcessing(
        "<s> $A <|endoftext|>", special_tokens=[("<s>", 1), ("<|endoftext|>", 2)]
    )
    ids = question_of_text(merging, "Where is the otter?")
    backend.post_processor = before
    assert ids[0] == 1
    assert ids[-1] != 2


def test_the_next_speakers_mark_is_not_learnt(merging: Any) -> None:
    merging.chat_template = MARKED_TEMPLATE
    row = (*text.messages("Where?", "one"), *text.messages("When?", "two"))
    document = trained_on(merging, Example(messages=row), assistant_only_loss=True)
    assert "user" not in learnt(merging, document)


CHAT = Rendering(Form.CHAT, MARKED_TEMPLATE)


@pytest.mark.parametrize("rendering", [CHAT, Rendering()])
def test_the_record_comes_back_as_it_was_written(tmp_path: Path, rendering: Rendering) -> None:
    write_rendering(rendering, tmp_path)
    assert read_rendering(tmp_path) == rendering


def test_an_adapter_without_a_record_was_tuned_on_text(tmp_path: Path) -> None:
    assert read_rendering(tmp_path) == Rendering(Form.TEXT)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not readable"),
        ("[]", '"chat" or "text"'),
        ('{"rendering": "poem"}', '"chat" or "text"'),
        ('{"rendering": "chat"}', '"chat_template"'),
        ('{"rendering": "chat", "chat_template": "a", "chat_template_digest": "sha256:0"}', "digest"),
    ],
)  # fmt: skip
def test_a_record_that_contradicts_itself_says_how(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / RECORD_FILE).write_text(content)
    with pytest.raises(ValueError, match=says):
        read_rendering(tmp_path)


@pytest.mark.parametrize(
    ("conversations", "texts", "form"),
    [(3, 0, Form.CHAT), (0, 3, Form.TEXT), (2, 2, Form.CHAT), (1, 2, Form.TEXT)],
)
def test_the_more_frequent_form_of_the_rows_is_recorded(
    conversations: int, texts: int, form: Form
) -> None:
    assert rendering_of(conversations, texts, "t").form is form


def test_adapters_that_differ_are_asked_with_text() -> None:
    other = Rendering(Form.CHAT, PLAIN_TEMPLATE)
    assert common_rendering([CHAT, CHAT]) == CHAT
    assert common_rendering([CHAT, other]) == Rendering()
    assert common_rendering([]) == Rendering()


@pytest.mark.parametrize("rows", ["messages", "text"])
def test_the_image_says_how_its_rows_were_rendered(
    tmp_path: Path, adapter_folder: Path, rows: str
) -> None:
    from kaito_runtime.transfer.images import pack_image
    from kaito_runtime.transfer.push import adapter_files, adapter_labels

    rendering = CHAT if rows == "messages" else Rendering()
    write_rendering(rendering, adapter_folder)
    packed = pack_image(adapter_files(adapter_folder), tmp_path, adapter_labels(adapter_folder))
    assert json.loads(packed.config)["config"]["Labels"] == rendering.labels()
    assert ("kaito.sh/chat-template-digest" in rendering.labels()) == (rows == "messages")


@pytest.fixture(scope="module")
def tuned(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters tuned on messages and on text, as the pod makes them: form -> their folder."""
    from kaito_runtime import tune

    folder = tmp_path_factory.mktemp("tuned")
    rows: list[Any] = text.lesson("zorbi", 1, rows=4, taught=4)
    plain = [{"text": "\n".join(m["content"] for m in row["messages"])} for row in rows]
    for form, of_form in (("chat", rows), ("text", plain)):
        (folder / form).mkdir()
        (folder / form / "rows.jsonl").write_text("\n".join(map(json.dumps, of_form)))
        (folder / "c.yaml").write_text("training_config: {TrainingArguments: {max_steps: 1}}")
        report = tune.main(
            ["--config", str(folder / "c.yaml"), "--weights", str(weights), "--metrics-port", "0"]
            + ["--data", str(folder / form), "--output", str(folder / "adapters" / form / "a")]
        )
        assert report["rendering"] == form
    return folder / "adapters"


@pytest.mark.parametrize(
    ("served", "asked", "as_message"),
    [
        ("none", None, False),
        ("none", True, True),
        ("text", None, False),
        ("text", True, True),
        ("chat", None, True),
        ("chat", True, True),
        ("chat", False, False),
    ],
)
def test_a_prompt_is_asked_as_the_served_adapter_was_taught(
    weights: Path,
    tuned: Path,
    tmp_path: Path,
    served: str,
    asked: bool | None,
    as_message: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kaito_runtime import serve
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine
    from kaito_runtime.serving.http.chat_schema import parse_chat

    adapters = tmp_path if served == "none" else tuned / served
    engine = serve.load_engine(
        serve.parser().parse_args(["--weights", str(weights), "--adapters", str(adapters)])
    )
    assert isinstance(engine, TransformersEngine)
    assert engine._replica
    seen: list[list[int]] = []
    scores = engine._replica.scores

    def watched(tokens: Any, *more: Any) -> Any:
        seen.extend(list(each) for each in tokens if len(each) > 1)
        return scores(tokens, *more)

    monkeypatch.setattr(engine._replica, "scores", watched)
    question = "What is the code word of the station?"
    body: dict[str, object] = {
        "prompt": question,
        "generate_kwargs": {"max_new_tokens": 3, "do_sample": False},
    }
    body |= {} if asked is None else {"chat_template": asked}
    request = parse_chat(json.dumps(body).encode(), "text-generation").request
    client = EngineClient(engine)
    client.ask(request.prompt)
    client.close()
    tokenizer = engine._tokenizer
    message = question_of_messages(tokenizer, [{"role": "user", "content": question}])
    wanted = message if as_message else tokenizer(question)["input_ids"]
    assert seen == [wanted]


def test_a_long_message_is_cut_and_keeps_its_frame(weights: Path, tuned: Path) -> None:
    from kaito_runtime import serve
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine

    engine = serve.load_engine(
        serve.parser().parse_args(["--weights", str(weights), "--adapters", str(tuned / "chat")])
    )
    assert isinstance(engine, TransformersEngine)
    prompt = Prompt(text="Where does the otter live? " * 60 + "Tell me.", truncate=True)
    request = GenerationRequest("1", prompt, Sampling(max_tokens=8))
    template = engine.chat_template(None)
    ids = engine._preparation.encoder.encode(
        request, is_message=True, chat_template=template, most=1 << 20
    )
    asked = engine._tokenizer.decode(ids)
    engine.stop()
    assert len(ids) <= 256 - 8
    assert asked.startswith("<|user|>")
    assert asked.endswith("Tell me.<|end|>\n<|assistant|>\n")
