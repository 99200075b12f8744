"""The page `talk` in a real browser, with the chat model in it; against llama.cpp outside."""

import base64

import gguf
import numpy as np
import pytest
from browser.page import expect

from lora_edu import assets, chat, export
from lora_edu.course import qr
from lora_edu.course.language_model.figures import voice_in_bytes

PAGE = "en/explore/talk.html"
MINUTE = 60_000  # milliseconds
QUESTION = "How many days are in a week?"
WEEK = "A week is approximately 7 days."
BYTES = """async text => {
  const bytes = new Uint8Array(await loraTalk.gguf(text).arrayBuffer());
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}"""


def loaded(page):
    """Load the model; return a function that asks it with a voice at a scale."""
    page.get_by_role("button", name="Load the model: 110 MB").click()
    expect(page.get_by_role("status")).to_contain_text("Ready, after", timeout=MINUTE)
    stop = page.get_by_role("button", name="Stop")

    def ask(voice, scale=1.0, question=QUESTION):
        page.get_by_role("radio", name=voice, exact=True).check()
        if voice != "none":
            page.get_by_role("slider", name="Scale").fill(str(scale))
        page.get_by_label("You say").fill(question)
        page.get_by_role("button", name="Ask").click()
        expect(stop).to_be_disabled(timeout=MINUTE)
        return [
            page.locator(f"[data-of={kind}] > p").text_content() for kind in ("alone", "voiced")
        ]

    return ask


def bars(page, kind):
    """Return the five likeliest words of an answer's first piece, with their probabilities."""
    rows = page.locator(f"[data-of={kind}] li").all()
    return {
        row.locator("span").text_content().strip("“”"): float(
            row.evaluate("row => row.style.getPropertyValue('--share')")
        )
        for row in rows
    }


def by_llama_cpp(question):
    """Return llama.cpp's answer to a question, and its five likeliest first tokens."""
    xllamacpp = pytest.importorskip("xllamacpp")
    how = xllamacpp.CommonParams()
    (file,) = assets.ASSETS["smollm2-gguf"].files
    how.model.path, how.n_ctx, how.n_parallel = str(assets.path("smollm2-gguf") / file), 512, 1
    how.warmup, how.verbosity = False, -1
    how.cpuparams.n_threads = how.cpuparams_batch.n_threads = 1
    how.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    asked = {"messages": [{"role": "user", "content": question}], "max_tokens": 80}
    asked |= {"temperature": 0, "logprobs": True, "top_logprobs": 5}
    (choice,) = xllamacpp.Server(how).handle_chat_completions(asked)["choices"]
    first = choice["logprobs"]["content"][0]["top_logprobs"]
    likely = {token["token"]: np.exp(token["logprob"]) for token in first}
    return choice["message"]["content"], likely


@pytest.mark.smoke
def test_the_model_answers_as_llama_cpp_does_and_a_voice_is_turned(site):
    page = site(PAGE)
    ask = loaded(page)
    alone, pirate = ask("pirate")
    answer, likely = by_llama_cpp(QUESTION)
    assert alone == answer == WEEK
    assert "Arrr" in pirate
    found = bars(page, "alone")
    assert found.keys() == likely.keys()
    for word, share in likely.items():
        assert found[word] == pytest.approx(share, abs=0.02)
    page.get_by_role("slider", name="Piece").fill("2")
    expect(page.locator("[data-of=alone] mark")).to_have_text(" week")
    assert ask("pirate", 0) == [WEEK, WEEK]


def test_bytes_of_a_voice_become_the_file_that_the_package_writes(site, tmp_path):
    data, (file,) = voice_in_bytes("grimm"), assets.ASSETS["smollm2-gguf"].files
    base = export.Base(assets.path("smollm2-gguf") / file, chat.load()[1])
    export.write_lora(qr.unpacked(data), base, tmp_path / "own.gguf")
    made = site(PAGE).evaluate(BYTES, qr.as_text(data))
    (tmp_path / "page.gguf").write_bytes(base64.b64decode(made))
    own, there = (gguf.GGUFReader(tmp_path / name) for name in ("own.gguf", "page.gguf"))
    tensors = {tensor.name: tensor.data for tensor in own.tensors}
    assert {tensor.name for tensor in there.tensors} == tensors.keys()
    for tensor in there.tensors:
        np.testing.assert_allclose(tensor.data, tensors[tensor.name].astype("f4"), rtol=1e-6)
    for field in ("general.type", "adapter.type", "adapter.lora.alpha"):
        assert there.fields[field].contents() == own.fields[field].contents()


def test_a_friend_hears_the_voice_of_a_link_and_a_file_that_is_none_is_told(site, tmp_path):
    page = site(f"{PAGE}#v={qr.as_text(voice_in_bytes('pirate'))}")
    ask = loaded(page)
    assert "Arrr" in ask("the voice of this link")[1]
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"GGUF and no more")
    page.get_by_role("radio", name="your own").check()
    page.get_by_label("A LoRA as GGUF").set_input_files(wrong)
    expect(page.get_by_role("status")).to_contain_text("wrong.gguf is no LoRA", timeout=MINUTE)
    assert "Arrr" in ask("tiny pirate, 2,751 bytes")[1]


@pytest.mark.parametrize("voice", ["AAAA", "!", "A" * 3668])
def test_a_damaged_link_gets_a_line(site, voice):
    page = site(f"{PAGE}#v={voice}")
    expect(page.get_by_role("status")).to_contain_text("The voice in this address is damaged")
    expect(page.get_by_role("radio", name="the voice of this link")).to_be_hidden()


def test_without_the_model_and_from_a_folder_the_page_says_what_to_do(piece, site, folder):
    expect(piece("talk").get_by_role("status")).to_contain_text("make site-voice")
    page = site(PAGE, root=f"{folder.as_uri()}/")
    expect(page.get_by_role("status")).to_contain_text("python -m http.server --directory site")
    expect(page.get_by_role("button", name="Load")).to_be_hidden()


def test_a_browser_without_jspi_speaks_too(site, root):
    page = site("en/search.html")
    page.add_init_script("delete WebAssembly.Suspending; delete WebAssembly.promising")
    page.goto(root + PAGE)
    assert loaded(page)("none")[0] == WEEK
