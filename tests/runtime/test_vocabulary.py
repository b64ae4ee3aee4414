"""Characters to tokens and back."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn_runtime.core.vocabulary import TextRule, Vocabulary, name_character
from charrnn_runtime.errors import InputError, ModelFileError, UnknownCharacterError

RULES = [TextRule(form, lowercase) for form in ("NFC", None) for lowercase in (False, True)]
TEXT = st.text(max_size=20)  # any character but lone surrogates, planes above the first included


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(lines=st.lists(TEXT, max_size=5))
@example(lines=["🏙\U0010ffff", "e\u0301", "İ", "\u0000\u2028\r"])
def test_what_is_encoded_is_decoded_to_the_prepared_text(rule, lines):
    prepared = [rule.apply(line) for line in lines]
    vocabulary = Vocabulary.build(prepared, rule)
    for line, expected in zip(lines, prepared, strict=True):
        tokens = vocabulary.encode(line)
        assert tokens.dtype == np.int32
        assert len(tokens) == len(expected)
        assert vocabulary.decode(tokens) == expected
        assert vocabulary.decode(tokens.tolist()) == expected


@given(st.lists(TEXT, max_size=5))
def test_a_vocabulary_holds_the_newline_first_and_every_character_once_by_code_point(lines):
    characters = Vocabulary.build(lines).characters
    assert characters[0] == "\n"
    assert [ord(c) for c in characters[1:]] == sorted({ord(c) for line in lines for c in line} - {10})


@given(st.lists(TEXT, max_size=5), st.randoms())
def test_the_order_of_the_lines_does_not_matter(lines, random):
    shuffled = random.sample(lines, len(lines))
    assert Vocabulary.build(lines) == Vocabulary.build(shuffled)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_preparing_any_one_character_twice_changes_nothing_more(rule):
    for code_point in range(sys.maxunicode + 1):
        once = rule.apply(chr(code_point))
        assert rule.apply(once) == once, f"U+{code_point:04X}"


MARKS = st.sampled_from("\u0300\u0301\u0307\u0308\u0323\u0327\u0345\u0342\u093c")
AWKWARD = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), MARKS, st.sampled_from("IİıΣςσKÅΩJǅßẞᾼ")))


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(text=AWKWARD)
@example(text="I\u0307\u0323")
@example(text="J\u030c")
@example(text="ΑΣ\u0345")
def test_preparing_a_text_twice_changes_nothing_more(rule, text):
    once = rule.apply(text)
    assert rule.apply(once) == once


@given(text=AWKWARD)
@example(text="İstanbul")
@example(text="\u0345Σ")
def test_texts_that_look_the_same_are_the_same_after_normalising(text):
    for rule in (TextRule("NFC", False), TextRule("NFC", True)):
        forms = {rule.apply(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
        assert len(forms) == 1


def test_the_dotted_capital_i_of_turkish_becomes_two_characters_that_the_vocabulary_knows():
    rule = TextRule(lowercase=True)
    prepared = rule.apply("İzmir")
    vocabulary = Vocabulary.build([prepared], rule)
    assert prepared == "i\u0307zmir"
    assert vocabulary.encode("İzmir").tolist() == vocabulary.encode(prepared).tolist()


def test_a_decomposed_prefix_is_the_composed_one_unless_the_rule_says_none():
    assert Vocabulary.build(["é"]).encode("e\u0301").tolist() == [1]
    with pytest.raises(UnknownCharacterError):
        Vocabulary.build(["é"], TextRule(None)).encode("e\u0301")


def test_capitals_are_lowered_only_by_a_rule_that_says_so():
    assert Vocabulary.build(["ade"], TextRule(lowercase=True)).encode("ADE").tolist() == [1, 2, 3]
    with pytest.raises(UnknownCharacterError, match=r"'A' \(U\+0041, LATIN CAPITAL LETTER A\)"):
        Vocabulary.build(["ade"]).encode("Ade")


@pytest.mark.parametrize(
    ("character", "named"),
    [
        ("ß", r"'ß' \(U\+00DF, LATIN SMALL LETTER SHARP S\) at position 3"),
        ("🏡", r"'🏡' \(U\+1F3E1, HOUSE WITH GARDEN\) at position 3"),
        ("\u200b", r"character U\+200B, ZERO WIDTH SPACE at position 3"),
        ("\t", r"character U\+0009 at position 3"),
        ("\ud800", r"character U\+D800 at position 3"),
        ("\udcff", r"character U\+DCFF at position 3"),
        ("\ue000", r"character U\+E000 at position 3"),
    ],
)
def test_an_unknown_character_is_named_as_people_can_look_it_up(character, named):
    with pytest.raises(UnknownCharacterError, match=named) as caught:
        Vocabulary.build(["Ede"]).encode(f"Ed{character}e")
    message = str(caught.value)
    assert "the model has only seen 'Ede'" in message
    message.encode()  # a lone surrogate would end the printing of it
    assert message.isprintable()


def test_the_first_of_several_unknown_characters_is_the_one_named():
    with pytest.raises(UnknownCharacterError, match=r"'x' .* at position 2"):
        Vocabulary.build(["Ede"]).encode("Exyz")


def test_a_large_vocabulary_is_not_listed_in_full():
    with pytest.raises(UnknownCharacterError) as caught:
        Vocabulary.build([map(chr, range(0x4E00, 0x9000))]).encode("x")
    assert len(str(caught.value)) < 400


def test_skip_leaves_unknown_characters_out_and_keeps_the_rest():
    vocabulary = Vocabulary.build(["Ede"])
    assert vocabulary.decode(vocabulary.encode("xEßd🏡e\ud800", unknown="skip")) == "Ede"
    assert vocabulary.encode("xyz", unknown="skip").shape == (0,)


def test_an_empty_text_has_no_tokens():
    tokens = Vocabulary.build(["Ede"]).encode("")
    assert (tokens.shape, tokens.dtype) == ((0,), np.int32)
    assert Vocabulary.build(["Ede"]).decode(tokens) == ""


def test_a_newline_in_a_text_is_the_boundary():
    assert Vocabulary.build(["Ede"]).encode("E\ne").tolist() == [1, 0, 3]


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(lines=st.lists(TEXT, max_size=3))
def test_a_vocabulary_comes_back_from_json_as_it_was(rule, lines):
    vocabulary = Vocabulary.build([rule.apply(line) for line in lines], rule)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


GOOD = {"characters": "\nab", "normal_form": "NFC", "lowercase": False}


@pytest.mark.parametrize(
    "damaged",
    [
        *({key: value for key, value in GOOD.items() if key != missing} for missing in GOOD),
        *(
            GOOD | {"characters": value}
            for value in ("", "ab", "a\nb", "\nba", "\naab", "\nab\n", None, 5, ["\n", "a"])
        ),
        *(GOOD | {"characters": value} for value in ("\n\ud800", "\na\udfff")),
        *(GOOD | {"normal_form": value} for value in ("NFD", "nfc", "", 0, False, ["NFC"], {})),
        *(GOOD | {"lowercase": value} for value in ("false", "", 0, 1, None, [])),
        [],
        "text",
        None,
        7,
    ],
    ids=repr,
)
def test_a_damaged_vocabulary_is_refused_as_a_damaged_file(damaged):
    with pytest.raises(ModelFileError, match="vocabulary: expected"):
        Vocabulary.from_json(damaged)


def test_an_unknown_normal_form_is_refused():
    with pytest.raises(InputError, match=r"^normal form: expected NFC or none, received 'NFKC'"):
        TextRule("NFKC")


@pytest.mark.parametrize(
    ("character", "name"),
    [("a", "'a' (U+0061, LATIN SMALL LETTER A)"), ("\n", "U+000A"), ("\U0010ffff", "U+10FFFF")],
)
def test_a_character_is_named_with_its_code_point(character, name):
    assert name_character(character) == name
