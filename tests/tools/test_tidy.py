"""The checks of `make tidy` on small source trees that break one rule each."""
import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'tidy.py'
LAYERS = 'main\nbroker/channel\nbroker\nbroker/session\nbroker/zone\nevent\nbase\n'


def load_tool():
    spec = importlib.util.spec_from_file_location('tidy', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tidy = load_tool()


class Tree:
    def __init__(self, root):
        self.root = root
        self.write('src/LAYERS', '# highest first\n' + LAYERS)
        for header in ('base/slice.h', 'event/worker.h', 'broker/broker.h', 'broker/zone.h', 'broker/session/session.h'):
            self.write(f'src/{header}', '')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def problems(self):
        return tidy.check_layers(self.root)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_includes_of_the_same_folder_and_below_are_fine(tree):
    tree.write('src/event/mailbox.c', '#include "event/worker.h"\n#include "base/slice.h"\n#include <uv.h>\n')
    assert tree.problems() == []


def test_an_include_that_points_up_is_named_with_file_and_line(tree):
    tree.write('src/event/mailbox.c', '#include "base/slice.h"\n\n#include "broker/broker.h"\n')
    problems = tree.problems()
    assert len(problems) == 1
    assert 'src/event/mailbox.c:3: "broker/broker.h" points up' in problems[0]


def test_a_subfolder_has_a_place_of_its_own(tree):
    tree.write('src/broker/session/inflight.c', '#include "broker/broker.h"\n')
    assert 'broker/session stands below broker' in tree.problems()[0]
    tree.write('src/broker/session/inflight.c', '')
    tree.write('src/broker/access.c', '#include "broker/session/session.h"\n')
    assert tree.problems() == []


def test_one_module_may_stand_below_its_folder(tree):
    tree.write('src/broker/session/inflight.c', '#include "broker/zone.h"\n')
    assert tree.problems() == []
    tree.write('src/broker/zone.c', '#include "broker/broker.h"\n')
    assert 'broker/zone stands below broker' in tree.problems()[0]
    tree.write('src/broker/zone_internal.h', '')
    tree.write('src/broker/zone.c', '#include "broker/zone_internal.h"\n')
    assert tree.problems() == []


def test_a_file_is_not_taken_for_the_folder_of_its_name(tree):
    tree.write('src/broker/session_view.c', '#include "broker/broker.h"\n')
    assert tree.problems() == []


def test_includes_are_written_from_the_root_of_src(tree):
    tree.write('src/event/mailbox.c', '#include "worker.h"\n')
    assert 'not a path from the root of src/' in tree.problems()[0]


def test_an_internal_header_stays_inside_its_folder(tree):
    tree.write('src/event/loop_internal.h', '')
    tree.write('src/event/loop.c', '#include "event/loop_internal.h"\n')
    assert tree.problems() == []
    tree.write('src/main/main.c', '#include "event/loop_internal.h"\n')
    assert 'is internal to event/' in tree.problems()[0]


def test_a_folder_without_a_place_is_named(tree):
    tree.write('src/rule/sql.c', '')
    assert 'rule is not in src/LAYERS' in tree.problems()[0]


def test_a_plugin_sees_the_plugin_header_only(tree):
    tree.write('plugins/hello/hello.c', '#include "emqc/plugin.h"\n#include "broker/broker.h"\n')
    problems = tree.problems()
    assert len(problems) == 1 and 'hello.c:2' in problems[0]


def test_functions_are_measured_without_their_comments_and_strings():
    text = ('static int first(int a,\n                 void (*done)(int x, int y))\n{\n    if (a) {\n        for (;;)\n'
            '            done("{", 2); /* } */\n    }\n    return 0;\n}\n\nvoid second(void)\n{\n}\n')
    found = list(tidy.functions_of(tidy.without_comments_and_strings(text)))
    assert found == [('first', 1, 9, 2, 2), ('second', 11, 3, 0, 0)]


def test_struct_members_are_counted_at_their_own_level():
    text = 'struct zone {\n    int a, b;\n    struct {\n        int c;\n        int d;\n    } part;\n};\n'
    assert list(tidy.structs_of(text)) == [('zone', 1, 3)]


def test_include_guards_are_no_conditionals():
    guard = '#ifndef BASE_CLOCK_H\n#define BASE_CLOCK_H\n#endif\n'
    assert tidy.count_conditionals(guard) == 0
    assert tidy.count_conditionals(guard + '#ifdef __linux__\nint x;\n#endif\n') == 1
