"""Parity fixtures for packages/tokenizer-merging, written by Hugging Face tokenizers.

    pip install tokenizers==0.23.3 transformers==5.23.0 jinja2
    python tools/parity/tokenizer.py                 # writes packages/tokenizer-merging/fixtures/
    python tools/parity/tokenizer.py --check FILE    # loads {"tokenizer": ..., "texts": ..., "ids": ...}
                                                     # written by this project and compares the ids

Each fixture tokenizer is trained here on a small corpus of our own with one of the published byte-level
pre-tokenizers (DeepSeek-V3, GPT-2, Llama 3, Qwen2), then encodes the same texts: emoji, CJK, digits, code,
white space of every kind, broken and rare characters. Control tokens are matched in half of the encodings
and plain text in the other half (`encode_special_tokens`).
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

OUT = Path(__file__).resolve().parents[2] / "packages/tokenizer-merging/fixtures"

DEEPSEEK_MAIN = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
DEEPSEEK_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
LLAMA3 = (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
QWEN2 = LLAMA3.replace("\\p{N}{1,3}", "\\p{N}")
GPT4O = (
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)

SPECIALS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
ROLES = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def deepseek(digits):
    return pre_tokenizers.Sequence(
        [split(digits), split(DEEPSEEK_CJK), split(DEEPSEEK_MAIN), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


def one_regex(pattern):
    return pre_tokenizers.Sequence([split(pattern), pre_tokenizers.ByteLevel(False, use_regex=False)])


def corpus():
    rng = random.Random(7)
    prose = [
        "A minke is a small whale. Minke whales swim in every ocean, alone or in small groups, and they don't mind the cold.",
        "The model thinks before it answers; its thoughts are shown apart from its answer, and it isn't always right.",
        "We've measured what we could: I'll say it's fast, they're sure it's not, and he'd rather wait. You're right!",
        "Die Wale schwimmen durch das Meer, und größere Tiere weichen ihnen aus. Straßen gibt es dort keine.",
        "Les baleines nagent dans l'océan ; elles ont été vues près des côtes, où l'eau est froide et profonde.",
        "鲸鱼在海洋里游泳。小须鲸是一种小型的鲸鱼，它们在海洋里很常见。模型先思考，再回答问题。",
        "クジラは海を泳ぎます。ミンククジラは小さなクジラです。モデルは考えてから答えます。",
        "Киты плавают в океане. Малый полосатик меньше других китов, и модель думает, прежде чем отвечать.",
        "고래는 바다에서 헤엄칩니다. 모델은 생각한 다음에 대답합니다.",
        "الحيتان تسبح في المحيط. النموذج يفكر ثم يجيب.",
        "emoji 🐋🐳 whale 🐋 dance 👩‍👩‍👧‍👦 and flags 🇩🇪🇯🇵, then 🐋🐋🐋 again 👍🏽👍🏽",
    ]
    code = [
        "function add(a: number, b: number): number {\n  return a + b;\n}\n\nfor (let i = 0; i < 10; i++) {\n\tconsole.log(i);\n}\n",
        "def add(a, b):\n    return a + b\n\n\nif __name__ == '__main__':\n    print(add(1, 2))\n",
        "#include <stdio.h>\r\nint main(void) {\r\n  printf(\"%d\\n\", 42);\r\n  return 0;\r\n}\r\n",
        "SELECT name, count(*) FROM whales WHERE length > 7.5 GROUP BY name; -- comment\n",
    ]
    sums = []
    for _ in range(120):
        a, b = rng.randrange(1000), rng.randrange(1000)
        sums.append(f"What is {a} + {b}? <think>\n{a} + {b} = {a + b}\n</think>\n\nThe answer is {a + b}.")
    return prose * 2 + code * 2 + sums


def texts():
    rng = random.Random(11)
    fixed = [
        "", " ", "  ", "a", "\n", "\r\n", "\t", "Hello, world!", " Hello  world ", "don't DON'T we'LL I'M they'Re x'S x'ſ it'd",
        "What is 348 + 977?", "1", "12", "123", "1234", "12345678901234567890123456789012345678901234567890",
        "3.14159,2,718 1e-5 0xFF ½ ²³ Ⅷ ٣٤٥ 一二三", "a1b2c3 4d 5 e6 7", "🐋", "🐋🐳", "👩‍👩‍👧‍👦 family", "🇩🇪🇯🇵", "👍🏽!", "e\u0301 é ñ n\u0303",
        "鲸鱼在海洋里游泳。", "クジラは海を", "한국어 텍스트", "中文English混合123文字", "龦龥一 rare 𠀀𠀁", "ｆｕｌｌｗｉｄｔｈ １２３",
        "الحيتان تسبح", "עברית", "ไทยภาษา", "हिन्दी में", "Straße GRÖSSE", "ﬁ ligature ŉ ǆ",
        "x\u0085y \u0085 z", "a\ufeffb \ufeff c", "a\u00a0b \u00a0 c", "a\u200bb\u2028c\u2029d\u202fe\u3000f\u180eg",
        "\u0000\u0001\u0002 x\u0007", "\ufffd\ufffe", "a\u001cb\u001db\u001ec\u001fd", "tab\tand  two   three    four",
        "trailing spaces   ", "   leading", "line\n\n\nbreaks\n", "mixed \r\n \n\r  \r\r end", "\n \n  \n   x", "  \n\n  y", "a \n", "a\n b",
        "if (x<y&&z>=w) { return [a,b,c]; } // note", "foo_bar.baz(qux)->quux::corge!", "#include <stdio.h>\r\n", "https://example.org/a?b=c&d=%20#e",
        "C:\\path\\to\\file.txt", "```python\nprint('hi')\n```", "<div class=\"a\">text</div>", "$$\\frac{a}{b}$$ and \\boxed{42}", "!!!???...", "a--b—c–d…“quoted”‘single’",
        "<think>\n1 + 1 = 2\n</think>\n\n2", "<｜User｜>hi<｜Assistant｜><think>\n", "<｜begin▁of▁sentence｜>a<｜end▁of▁sentence｜>", "<｜User", "<｜Us<｜User｜>er｜>", "<<think>>", "</think></think>",
        "a<think>b", "<think> <think>\n<think>", "  <think>  ", "__proto__ constructor toString", "ĠĊ Ġthe", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab", " \u0301x \u0301", "👨🏿‍🦰 ☠️ ♥︎ ①②③",
        "  \u1ad0x \U0001f778 \ufdd0 \U0001fffe \U0002cea6 \u1add",
        "x" * 200, " " * 100, "\n" * 50, "1" * 100, "ab " * 60, "🐋" * 40, "鲸" * 60, "!" * 120, "\u0301" * 30, "don't" * 20,
    ]
    alphabets = [
        "abcdefghijklmnopqrstuvwxyz ABC'", "0123456789 +-*/=.", "\n\r\t  \u00a0\u0085\u3000 x", "鲸鱼在海洋里游泳。クジラ ",
        "'stredvml STREDVMLſ", "{}[]();:.,<>=!&|\"'#@$%^*_~`\\/ \nab", "éèêñüßøåÆŒ Ωλ ЖЯ", "🐋🐳👍🏽👩‍🇩🇪 a1",
    ]
    generated = []
    for _ in range(110):
        alphabet = rng.choice(alphabets) if rng.random() < 0.7 else "".join(alphabets)
        generated.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 48))))
    for _ in range(30):
        points = []
        while len(points) < 20:
            point = rng.choice([rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x1F000, 0x1FB00)])
            if not 0xD800 <= point <= 0xDFFF:
                points.append(chr(point))
        generated.append("".join(points))
    return fixed + generated


def train(pre_tokenizer, lines, vocab_size, ignore_merges=False, template=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    specials = [AddedToken(t, special=True, normalized=False) for t in SPECIALS + ROLES]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    if template:
        bos, eos = SPECIALS[0], SPECIALS[1]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A {eos}", special_tokens=[(bos, 0), (eos, 1)]
        )
    return tokenizer


def with_roles(tokenizer):
    """Roles and thought tags not special, as DeepSeek's, and tokens that use every matching flag."""
    data = json.loads(tokenizer.to_str())
    for token in data["added_tokens"]:
        if token["content"] in ROLES:
            token["special"] = False
            token["normalized"] = True
    size = max(data["model"]["vocab"].values()) + 1
    extra = [("<mask>", dict(lstrip=True)), ("<right>", dict(rstrip=True)), ("word", dict(single_word=True)), ("\n\n\n", {})]
    for offset, (content, flags) in enumerate(extra):
        token = dict(id=size + 3 * offset, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        token.update(flags)
        data["added_tokens"].append(token)
    return Tokenizer.from_str(json.dumps(data))


def encodings(tokenizer, lines, add_special_tokens=False):
    return [tokenizer.encode(line, add_special_tokens=add_special_tokens).ids for line in lines]


def case(name, tokenizer, lines, trained=None):
    allowed = encodings(tokenizer, lines)
    decoded = [tokenizer.decode(ids, skip_special_tokens=True) for ids in allowed]
    bracketed = encodings(tokenizer, lines[:8], add_special_tokens=True)
    tokenizer.encode_special_tokens = True
    plain = encodings(tokenizer, lines)
    tokenizer.encode_special_tokens = False
    return dict(
        name=name,
        trained=trained,
        tokenizer=json.loads(tokenizer.to_str()),
        allowed=allowed,
        plain=plain,
        bracketed=bracketed,
        decoded=decoded,
    )


def main():
    lines = corpus()
    inputs = texts()
    flagged = inputs + ["a <mask> b", "a<mask>b <right>  c", "word words aword (word) word", "a\n\n\nb\n\n\n\n\nc", "<mask> <mask><right> <right>"]
    cases = [
        case("deepseek-v3", train(deepseek("\\p{N}{1,3}"), lines, 700), inputs, "groups-of-3"),
        case("digits-one-by-one", train(deepseek("\\p{N}"), lines, 700), inputs, "individual"),
        case("digits-uncut", train(deepseek("\\p{N}+"), lines, 500), inputs, "none"),
        case("gpt2", train(pre_tokenizers.ByteLevel(False), lines, 600), inputs),
        case("gpt2-prefix-space", train(pre_tokenizers.ByteLevel(True), lines, 450), inputs),
        case("digits-then-gpt2", train(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]), lines, 450), inputs),
        case("llama3", train(one_regex(LLAMA3), lines, 600, ignore_merges=True, template=True), inputs),
        case("qwen2", train(one_regex(QWEN2), lines, 450), inputs),
        case("gpt4o", train(one_regex(GPT4O), lines, 450), inputs),
        case("added-token-flags", with_roles(train(deepseek("\\p{N}{1,3}"), lines, 400)), flagged),
    ]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "corpus.json").write_text(json.dumps(lines, ensure_ascii=False, indent=0) + "\n")
    (OUT / "texts.json").write_text(json.dumps(flagged, ensure_ascii=True, indent=0) + "\n")
    for one in cases:
        text = json.dumps(one, ensure_ascii=False, separators=(",", ":"))
        (OUT / f"{one['name']}.json").write_text(text + "\n")
        print(f"{one['name']}: {len(text)} bytes, {sum(map(len, one['allowed']))} ids")
    chat()
    unicode_table()


def chat():
    """Our DeepSeek-R1 template, taken from its source file, rendered by transformers."""
    from transformers.utils.chat_template_utils import render_jinja_template

    code = (OUT.parent / "src/chat/deepseek-r1.ts").read_text()
    source = code.split("const source = `")[1].split("`;")[0].replace("\\\\", "\\")
    user, answer = dict(role="user", content="What is 1 + 1?"), dict(role="assistant", content="2")
    system = dict(role="system", content="Be brief.")
    odd = dict(role="user", content="  {{ x }} {% y %} <b>\n</b>\t鲸 🐋 'quoted' \"double\" \\n  ")
    conversations = [
        ([user], {}, True),
        ([user], {}, False),
        ([system, user], {}, True),
        ([system, user, answer, user], {}, True),
        ([user, answer], {}, False),
        ([system, system, user], {}, True),
        ([user, system, user], {}, True),
        ([odd, answer, odd], {}, True),
        ([user], dict(thinking=False), True),
        ([user], dict(thinking=True), True),
    ]
    cases = []
    for messages, variables, prompt in conversations:
        tokens = dict(bos_token=SPECIALS[0], eos_token=SPECIALS[1])
        rendered, _ = render_jinja_template(
            [messages], chat_template=source, add_generation_prompt=prompt, **tokens, **variables
        )
        cases.append(dict(messages=messages, variables=variables, add_generation_prompt=prompt, text=rendered[0]))
    (OUT / "chat.json").write_text(json.dumps(dict(source=source, cases=cases), ensure_ascii=False, indent=1) + "\n")


def unicode_table():
    """Code points that the reference's regular expressions take for unassigned, as a TypeScript table."""
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    removed = pre_tokenizers.Split(Regex("\\P{Cn}+"), "removed").pre_tokenize_str("".join(map(chr, points)))
    words, last = [], 0
    for _, (start, end) in removed:
        first, final = points[start], points[end - 1]
        words += [first - last, final - first]
        last = final
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"

    def base36(n):
        return digits[n] if n < 36 else base36(n // 36) + digits[n % 36]

    text = (
        "/** Generated by tools/parity/tokenizer.py from tokenizers 0.23.3 (Unicode 16.0): ranges of unassigned code\n"
        " * points as base-36 differences, start from the end before, end from the start. */\n"
        f"export const unassignedRanges =\n  '{' '.join(map(base36, words))}';\n"
    )
    (OUT.parent / "src/tokenizer/unassigned.gen.ts").write_text(text)


def check(path):
    data = json.loads(Path(path).read_text())
    tokenizer = Tokenizer.from_str(json.dumps(data["tokenizer"]))
    tokenizer.encode_special_tokens = True
    different = [t for t, ids in zip(data["texts"], data["ids"]) if tokenizer.encode(t, add_special_tokens=False).ids != ids]
    print(f"{len(data['texts'])} texts, {len(different)} differ")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    check(sys.argv[2]) if sys.argv[1:2] == ["--check"] else main()
