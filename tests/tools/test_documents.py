"""The documents hold together: links lead somewhere, and what they quote of the shipped configuration is in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), *(ROOT / 'tests').glob('*/README.md')])


def without_code(text):
    return re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)


def anchors(document):
    heads = re.findall(r'^#+ (.*)$', without_code(document.read_text(encoding='utf-8')), re.M)
    return {re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads}


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for link in re.findall(r'\]\(([^)\s]+)\)', without_code(document.read_text(encoding='utf-8'))):
        if re.match(r'[a-z]+:', link):
            continue
        name, _, anchor = link.partition('#')
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_document():
    index = (ROOT / 'docs' / 'README.md').read_text(encoding='utf-8')
    missing = [path.name for path in (ROOT / 'docs').glob('*.md') if path.name != 'README.md' and f']({path.name})' not in index]
    assert not missing


def test_the_readme_shows_the_listeners_of_the_shipped_configuration():
    shipped = re.findall(r'^listener\.(\w+)\.\w+ = (\S+)$', (ROOT / 'etc' / 'emqx.conf').read_text(encoding='utf-8'), re.M)
    lines = [f'Start mqtt:{kind} listener on {address if ":" in address else "0.0.0.0:" + address} successfully.'
             for kind, address in shipped]  # fmt: skip
    assert len(lines) == 5
    assert '\n'.join(lines) in (ROOT / 'README.md').read_text(encoding='utf-8')
