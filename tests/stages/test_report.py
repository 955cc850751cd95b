"""Stage `report`: one page that needs nothing else, and says what the run's files say."""

import itertools
import json
import re
import shutil

import h5py
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from cyborgs.run.paths import Run
from cyborgs.stages import report
from cyborgs.training.metrics import read_metrics


def written(folder, out):
    report.run(folder, out)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    return written(results, tmp_path_factory.mktemp("report") / "report.html")


def without_pictures(page):
    return re.sub(r"data:image/[^\"]+", "", page)


def test_it_needs_nothing_else(page):
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert not re.findall(r"url\((?!#|data:)", page)
    assert len(page) < 5e6


def test_every_figure_of_the_table_is_there(page, results):
    for kind in ("k-4", "made"):
        for number in range(2):
            figures = json.loads(Run(results).quality(kind, number).read_text())
            for key in ("ari", "asa", "miou", "boundary_recall"):
                assert re.search(f"<td>(<b>)?{figures[key]:.3f}(</b>)?</td>", page)


def test_training_is_told(page, results):
    epochs = read_metrics(Run(results).metrics(1))
    assert f"<td>{epochs[-1]['loss']:.3f}</td>" in page
    assert f"loss by epoch: {epochs[0]['loss']:.4g} at first" in page


def test_the_pictures_are_of_the_best_and_the_worst_images(page, results):
    figures = json.loads(Run(results).quality("k-4", 1).read_text())
    for number, key in enumerate(("best", "worst"), start=1):
        grid = page[page.index(f'<div class="grid grid-{number}-0"') :].split("</table>")[0]
        shown = [int(p) for p in re.findall(r"--photo: var\(--photo-(\d+)\)", grid)]
        assert shown == [image["position"] for image in figures[key][: report.SHOWN]]
        assert all(f"--photo-{p}: url(data:image/webp" in page for p in shown)
    assert "drawn at random" in page
    assert f"ARI\N{NO-BREAK SPACE}{figures['best'][0]['ari']:.2f}" in page


def test_comparisons_are_those_of_the_figures(page, results):
    """All images of the fixed K are compared, so that the means are those of the table."""
    before, after = (json.loads(Run(results).quality("k-4", n).read_text())["ari"] for n in (0, 1))
    assert f"{after:.3f} against {before:.3f}" in page


def test_it_can_be_looked_at_in_a_browser(results, tmp_path):
    """On a phone, a laptop and a large screen, light and dark; a picture enlarges by keyboard."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: chromium)")
    written(results, tmp_path / "r.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        for width, scheme in itertools.product((390, 1366, 1920), ("light", "dark")):
            page = browser.new_context(
                viewport={"width": width, "height": 768}, color_scheme=scheme, offline=True
            ).new_page()
            troubles = []
            page.on("pageerror", lambda error, seen=troubles: seen.append(str(error)))
            page.on("console", lambda m, seen=troubles: seen.append(m.text))
            page.goto((tmp_path / "r.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if width == 1366:
                assert page.evaluate("document.documentElement.scrollHeight") < 6 * 768
                two = page.evaluate(
                    "(r => r[1].getBoundingClientRect().bottom - r[0].getBoundingClientRect().top)"
                    "([...document.querySelectorAll('tbody tr')].filter(e => e.offsetHeight))"
                )
                assert two < 768
            low = page.evaluate(CONTRAST)
            assert not low, (width, scheme, low)
            page.locator(".grid button:visible").first.focus()
            page.keyboard.press("Enter")
            assert page.locator("[popover]:popover-open").count() == 1
            page.keyboard.press("Escape")
            assert page.locator("[popover]:popover-open").count() == 0
            assert not troubles
        browser.close()


# Texts whose contrast with what is behind them is below 4.5 (WCAG 2.1, 1.4.3).
CONTRAST = """() => {
  const parse = c => c.match(/[0-9.]+/g).map(Number);
  const light = c => {
    const [r, g, b] = parse(c).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if ((parse(c)[3] ?? 1) > 0) return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const low = [];
  for (const e of document.querySelectorAll('.cyborgs *')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!text || e.closest('style, svg') || !e.offsetHeight) continue;
    const pair = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a);
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) low.push(e.textContent.slice(0, 40));
  }
  return low;
}"""


@pytest.mark.parametrize("what", ["index", "state", "shards", "rounds"])
def test_masks_that_are_left_over_are_left_out(what, copy, tmp_path, capsys):
    """Those of the last round, which `snakemake --cores all` does not make again."""
    folder = Run(copy).masks(1)
    for path in sorted(folder.iterdir()):
        if what == "shards":
            path.rename(path.with_name(path.name.replace("0002", "0003")))
        elif what == "rounds":
            shutil.copytree(folder, Run(copy).masks(2), dirs_exist_ok=True)
        else:
            with h5py.File(path, "r+") as file:
                record = json.loads(file.attrs["provenance"])
                record["inputs"]["state"] = "0" * 64
                key, value = {
                    "index": ("index", "0" * 64), "state": ("provenance", json.dumps(record)),
                }[what]  # fmt: skip
                file.attrs[key] = np.bytes_(value)
    kept = [0, 1] if what == "rounds" else [0]
    assert Run(copy).rounds() == kept
    said = capsys.readouterr().err
    assert ("is left out" in said) == (what in ("index", "state"))
    assert "round 0" in written(copy, tmp_path / "report.html")


def test_provenance_and_configuration_are_there(page, results):
    assert "architecture: resnet18" in page
    assert "SHA-256" in page
    assert "compute:" not in page


def test_the_same_run_gives_the_same_bytes(page, results, tmp_path):
    assert written(results, tmp_path / "again.html") == page


def test_costs_are_those_that_snakemake_noted(copy, tmp_path):
    for name, seconds, memory in (
        ("pretrain/round-01", "75.2", "2000.5"),
        ("masks/round-01/shard-0000", "10.0", "NA"),
        ("masks/round-01/shard-0001", "20.0", "500.0"),
    ):
        path = copy / f"cost/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{memory}\n")
    page = written(copy, tmp_path / "r.html")
    row = "".join(
        f"<td>{cell}</td>" for cell in ("1", "0:01:15", "2.10 GB", "0:00:30", "2", "0.52 GB")
    )
    assert f"<tr>{row}</tr>" in page


def test_a_run_without_annotations(copy, tmp_path):
    """Nothing was measured, and there is no ground truth to show."""
    run = Run(copy)
    config = run.config.read_text()
    config = re.sub(
        r"  scenes:\n(    .*\n)+", "", config.replace("images: null", "images: <b>photos")
    )
    run.config.write_text(config)
    for path in (copy / "quality").rglob("*.json"):
        path.unlink()
    (copy / "scenes/images").rename(copy.parent.parent / "<b>photos")
    page = written(copy, tmp_path / "r.html")
    assert "&lt;b&gt;photos" in page
    assert "<b>photos" not in page
    assert "There are no annotations, so masks were not measured." in page
    assert "ground truth" not in page.split("<h2>Mask quality")[0]
    assert "no annotations, so nothing says" in page
    assert "drawn at random" in page


def test_a_run_that_has_just_begun(copy, tmp_path):
    for path in ("metrics", "quality"):
        for file in (copy / path).rglob("*"):
            if file.is_file():
                file.unlink()
    page = written(copy, tmp_path / "r.html")
    assert "There are no metrics of epochs" in page
    assert "There are no costs of jobs" in page
    assert "not known" in page


def test_a_run_whose_first_round_is_not_trained(copy, tmp_path):
    for path in ("metrics", "quality", "states", "masks/round-01"):
        shutil.rmtree(copy / path)
    page = written(copy, tmp_path / "r.html")
    assert "round 1 of 1 under way" in page
    assert "Under way" in page


class TestBadInput:
    def test_no_run(self, tmp_path, refused):
        with refused("configuration of the run", "does not exist"):
            report.run(tmp_path, tmp_path / "r.html")
        assert not list(tmp_path.iterdir())

    def test_no_masks(self, copy, tmp_path, refused):
        for path in (copy / "masks").rglob("*.h5"):
            path.unlink()
        with refused(f"run {copy} has no masks yet"):
            report.run(copy, tmp_path / "r.html")

    def test_damaged_figures(self, copy, tmp_path, refused):
        path = Run(copy).quality("made", 0)
        path.write_text("{")
        with refused(f"quality {path} is damaged"):
            report.run(copy, tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()

    @pytest.mark.parametrize("content", ["s\tmax_rss\nx\t1\n", "a\tb\n1\t2\n"])
    def test_damaged_costs(self, copy, tmp_path, refused, content):
        path = copy / "cost/pretrain/round-01.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(content)
        with refused(f"cost {path} is damaged"):
            report.run(copy, tmp_path / "r.html")
