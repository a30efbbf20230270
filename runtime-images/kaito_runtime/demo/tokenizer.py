"""A sentencepiece tokenizer trained on the demo's text, saved so that transformers loads it."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PIECES = 600
START, END, PAD, UNKNOWN = "<s>", "<|endoftext|>", "<|pad|>", "<unk>"
TURN_END = "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

# As in microsoft/Phi-3-mini-4k-instruct: one mark per role, one for the end of a turn.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] "
    "+ '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def make_tokenizer(texts: Iterable[str], folder: Path) -> Any:
    """Train on the texts, write the tokenizer's files to a folder and return it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_fast(_pieces(texts)),
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _pieces(texts: Iterable[str]) -> list[tuple[str, float]]:
    """Return the pieces and scores of a BPE model with byte fallback."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        bos_piece=START,
        eos_piece=END,
        user_defined_symbols=[PAD, TURN_END, *ROLES],
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [
        (processor.id_to_piece(index), processor.get_score(index))
        for index in range(processor.get_piece_size())
    ]


def _fast(pieces: list[tuple[str, float]]) -> Any:
    """Return the same model for the `tokenizers` library: merges follow from the pieces' order."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    vocabulary = {piece: index for index, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, _ in sorted(pieces, key=lambda entry: -entry[1]):
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in splits if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = (UNKNOWN, START, END, PAD, TURN_END, *ROLES)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer
