# Copyright (c) CellVTA-MMSeg contributors.
"""What the documents, the comments of configs and the tools name is there."""
import ast
import contextlib
import io
import re
import shlex
from functools import lru_cache
from pathlib import Path

import pytest
from run_tool import run_tool
from test_tools.test_start_up import SCRIPTS

from mmseg_cellvta.configuration.configs import load_config
from mmseg_cellvta.models.encoders import read_encoder_table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
SOURCES = [path for folder in ('configs', 'tools', 'mmseg_cellvta')
           for suffix in ('py', 'yml', 'sh')
           for path in sorted((ROOT / folder).rglob(f'*.{suffix}'))
           if '.mim' not in path.parts]
CODE = {path: path.read_text() for path in SOURCES}
FOLDERS = '(?:configs|docs|mmseg_cellvta|requirements|tests|tools)'
# Files that a reader of the documents makes; names of other programs.
MADE_BY_READERS = {'configs/my_data.py', 'config.py', 'my_data.py'}
# QuPath's, Space Ranger's and Xenium Ranger's.
OPTIONS_OF_OTHERS = {'--no-crop', '--image', '--nuclei', '--cells',
                     '--coordinate-transform', '--expansion-distance'}
CLASSES_OF_OTHERS = {
    'AmpOptimWrapper', 'CrossEntropyLoss', 'Dinov2Model', 'Dinov2WithRegistersModel',
    'FeatureCollection',
    'MMSegInferencer', 'ViTForImageClassification', 'ViTModel', *read_encoder_table()}


def name_of(path):
    return str(path.relative_to(ROOT))


def spans(text):
    """Code in backticks, on one line."""
    return re.findall(r'`([^`\n]+)`', text)


def commands(text):
    """Calls of our tools in a document, as lists of words."""
    joined = re.sub(r'\\\n\s*', '', text)
    for call in re.findall(r'python (tools/[^`\n]*)', joined):
        yield shlex.split(call.split('  #')[0].split('   ')[0], comments=True)


@lru_cache
def options_of(tool):
    """What a tool takes, by its --help."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert run_tool(tool, '--help') == 0
    return set(re.findall(r'--[a-z][\w-]*', said.getvalue()))


@pytest.mark.parametrize('path', [*DOCUMENTS, ROOT / 'CHANGELOG.md', *SOURCES],
                         ids=name_of)
def test_named_files_are_there(path):
    text = path.read_text()
    named = set(re.findall(rf'(?<![\w/.]){FOLDERS}/[\w./-]+\.(?:py|sh|yml|txt|json)\b',
                           text))
    assert not [name for name in named - MADE_BY_READERS if not (ROOT / name).exists()]


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_files_named_without_folder_are_there(path):
    known = {file.name for folder in ('configs', 'docs', 'mmseg_cellvta', 'tools')
             for file in (ROOT / folder).rglob('*')}
    for name in spans(path.read_text()):
        if not re.fullmatch(r'(\.\.\.|cell|hovernet|conic_|consep_)[\w{},]*\.(py|yml)',
                            name):
            continue
        before, _, rest = name.removeprefix('...').partition('{')
        choices, _, after = rest.partition('}')
        for choice in choices.split(','):
            file = f'{before}{choice}{after}'
            assert any(other.endswith(file) for other in known), name


@pytest.mark.parametrize('path', [*DOCUMENTS, ROOT / 'CHANGELOG.md'], ids=name_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r'\]\((?!https?:)([^)]+)\)', path.read_text()):
        name, _, anchor = target.partition('#')
        file = path.parent / name if name else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r'^#+ (.*)', file.read_text(), re.M)
            anchors = {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-')
                       for heading in headings}
            assert anchor in anchors, target


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_commands_have_options_that_their_tools_take(path):
    for tool, *words in commands(path.read_text()):
        given = {word.partition('=')[0] for word in words if word.startswith('--')}
        assert given <= options_of(tool.removeprefix('tools/')), (tool, words)


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_options_in_a_sentence_are_options_of_a_tool(path):
    known = {option for script in SCRIPTS
             for option in options_of(script.relative_to(ROOT / 'tools').as_posix())}
    given = {word.partition('=')[0] for span in spans(path.read_text())
             if span.startswith('--') for word in span.split() if word.startswith('--')}
    assert given <= known | OPTIONS_OF_OTHERS


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_settings_in_commands_change_their_config(path):
    """A setting with dots is one that the config has, or an argument of ours."""
    for _, *words in commands(path.read_text()):
        if '--cfg-options' not in words or not (ROOT / words[0]).is_file():
            continue
        after = words[words.index('--cfg-options') + 1:]
        given = [word for word in after if re.match(r'[\w.]+=', word)]
        assert given and load_config(ROOT / words[0], given)
    for key in re.findall(r'\b((?:\w+\.)+\w+)=', path.read_text()):
        last = re.compile(rf'\b{key.rpartition(".")[2]}\b')
        assert any(map(last.search, CODE.values())), key


@lru_cache
def our_classes():
    return {node.name: node for path, text in CODE.items() if path.suffix == '.py'
            for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


def arguments_of(name):
    """Names of a class's arguments, and of those of its bases; None: no such class."""
    node = our_classes().get(name)
    if node is None:
        return None
    arguments = {item.target.id for item in node.body
                 if isinstance(item, ast.AnnAssign)}
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == '__init__':
            arguments |= {arg.arg for arg in item.args.args + item.args.kwonlyargs}
    for base in node.bases:
        arguments |= arguments_of(getattr(base, 'id', '')) or set()
    return arguments


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_classes_and_their_arguments_are_there(path):
    for span in spans(path.read_text()):
        match = re.match(r'((?:[A-Z][a-z0-9]+|[A-Z]+(?=[A-Z]))+)(\(.*\))?$', span)
        if not match or not re.search('[a-z][A-Z]', match[1]) or (
                match[1] in {*CLASSES_OF_OTHERS, *read_encoder_table()}):
            continue
        known = arguments_of(match[1])
        assert known is not None, span
        assert set(re.findall(r'(\w+)=', match[2] or '')) <= known, span


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_imports_and_dotted_names_are_there(path):
    text = path.read_text()
    named = set(re.findall(r'\bmmseg_cellvta(?:\.\w+)+', text))
    for block in re.findall(r'```python\n(.*?)```', text, re.S):
        for node in ast.walk(ast.parse(block.replace('{{', '_').replace('}}', '_'))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith(
                    'mmseg_cellvta'):
                named |= {f'{node.module}.{alias.name}' for alias in node.names}
    for name in named:
        *parents, last = name.split('.')
        whole, parent = ROOT.joinpath(*parents, last), ROOT.joinpath(*parents)
        if whole.is_dir() or whole.with_suffix('.py').is_file():
            continue
        source = parent.with_suffix('.py')
        source = parent / '__init__.py' if parent.is_dir() else source
        assert re.search(rf'\b{last}\b', source.read_text()), name


def test_commands_are_found():
    """The tests above have something to look at."""
    found = [call[0] for path in DOCUMENTS for call in commands(path.read_text())]
    assert len(found) > 30 and 'tools/infer.py' in found
