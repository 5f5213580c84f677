"""The spawn form: what it offers, and that all text in it is text."""

import re
from html import unescape

import pytest

from jupyter_gpu_jit.core.options import from_form, parse_profiles, resolve
from jupyter_gpu_jit.hub.form import render_profiles, static_folder, template_folder

URLS = {"script": "/s.js", "style": "/s.css", "quotes": "/q", "user": "ann"}
PROFILES = [
    {"slug": "cpu", "display_name": "CPU only", "description": "For data.", "memory": "4Gi"},
    {
        "slug": "l4",
        "gpus": {"count": 1, "models": ["L4"], "memory_gib": 24},
        "most_hours": 8,
        "zones": ["us-east-1a", "us-east-1b"],
        "choices": {
            "gpus": [1, 4],
            "zone": ["us-east-1a", "us-east-1b"],
            "hours": {"minimum": 1, "maximum": 8},
            "image": {"list": ["lab/a:1"], "pattern": "lab/[a-z]+:1"},
        },
    },
]


def rendered(data, chosen=None):
    return render_profiles(parse_profiles(data), chosen or {}, urls=URLS)


def fields_of(html, slug):
    """The names of the inputs of one card, with their values as a browser would send them."""
    sent = {"profile": [slug]}
    for name, rest in re.findall(
        r'<input class="form-control[^>]*?name="([^"]+)"([^>]*)>', html, re.S
    ):
        sent[unescape(name)] = [unescape(re.search(r'value="([^"]*)"', rest)[1])]
    for name, inside in re.findall(r'<select[^>]*name="([^"]+)">(.*?)</select>', html, re.S):
        chosen = re.search(r'value="([^"]*)" selected', inside)
        first = re.search(r'value="([^"]*)"', inside)
        sent[unescape(name)] = [unescape((chosen or first)[1])]
    return sent


def test_cards_say_what_a_profile_is():
    html = rendered(PROFILES)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for words in ("CPU only", "For data.", "no GPU", "4 GiB memory", "1 × L4, at least 24 GB each"):
        assert words in text
    assert "at most 8 h" in text
    assert re.search(r'value="cpu"[^>]*\s+checked', html)


def test_a_card_says_that_a_part_of_a_gpu_is_enough():
    share = {"memory_gib": 10}
    html = rendered([{"slug": "x", "gpus": {"models": ["A100"], "share": share}}])
    assert "part of A100 with at least 10 GB" in html


def test_an_untouched_form_is_a_choice_that_is_taken():
    profiles = parse_profiles(PROFILES)
    html = rendered(PROFILES)
    for profile in profiles:
        choices = from_form(fields_of(html, profile.slug))
        assert resolve(profiles, choices, groups=()).profile.slug == profile.slug


def test_what_was_chosen_before_is_filled_in():
    html = rendered(PROFILES, {"profile": "l4", "gpus": "4", "zone": "us-east-1b", "hours": "3"})
    sent = fields_of(html, "l4")
    assert sent["profile-option-l4--gpus"] == ["4"]
    assert sent["profile-option-l4--zone"] == ["us-east-1b"]
    assert sent["profile-option-l4--hours"] == ["3"]
    assert re.search(r'value="l4"[^>]*\s+checked', html)


def test_saved_choices_that_are_gone_are_not_filled_in():
    html = rendered(PROFILES, {"profile": "gone", "gpus": "4"})
    assert re.search(r'value="cpu"[^>]*\s+checked', html)
    html = rendered(PROFILES, {"profile": "l4", "gpus": "7"})
    assert fields_of(html, "l4")["profile-option-l4--gpus"] == ["1"]


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7*7 }}"]
)
def test_names_and_choices_are_text(evil):
    data = [{"slug": "x", "display_name": evil, "description": evil}]
    html = rendered(data)
    assert evil not in html or evil.startswith("{{")
    assert "<img src=x" not in html
    assert "<script>alert" not in html
    assert "49" not in html.replace("%49", "")
    chosen = {"profile": "l4", "image": evil, "hours": evil}
    html = rendered(PROFILES, chosen)
    assert "<img src=x" not in html
    assert "<script>alert" not in html


def test_without_profiles_the_page_says_so():
    assert "No profile is open to you" in render_profiles((), {}, urls=URLS)


def test_pages_and_scripts_insert_no_markup_from_data():
    from pathlib import Path

    for script in Path(static_folder()).glob("*.js"):
        text = script.read_text()
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert sink not in text, (script, sink)
    for page in Path(template_folder()).glob("*.html"):
        text = page.read_text()
        assert "| safe" not in text, page
        assert not re.search(r"\son[a-z]+\s*=", text), page
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), page
