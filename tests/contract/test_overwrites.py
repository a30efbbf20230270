"""Each place of the product that removes or overwrites a file, and why it may.

The rule: nothing is removed or overwritten that we did not write. A new place fails here until it has a reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.harness.wire import ROOT

REMOVES = {
    *("rmtree", "unlink", "rmdir", "removedirs", "rename", "renames", "move", "truncate"),
    *("copytree", "copyfile", "copy2", "write_text", "write_bytes", "touch"),
    *("symlink_to", "hardlink_to", "save_pretrained", "write_table"),
}
"""Functions and methods, by name."""
OF_OS = {"remove", "link", "symlink", "open", "replace"}
"""Those of `os` that are names of harmless methods of others."""

LAPTOP, RUNTIME = "laptop/kaito_laptop", "runtime-images/kaito_runtime"
STATE = "below a state folder, which is taken only when it is ours (state_folder.py)"
UNFINISHED = "in the folder that complete_or_nothing has just made"
SCRATCH = "in a temporary folder that this call has made"
OURS = "compared with the record of what was written (own_files.py)"

ALLOWED = {
    f"{LAPTOP}/core/state_folder.py:taken rmdir": "made by this very run, and only when it is empty",
    f"{LAPTOP}/core/state_folder.py:_lock os.open": "the marker; a link is not followed",
    f"{LAPTOP}/core/state_folder.py:_remove rmtree": "a folder of the marked folder by one of our names",
    f"{LAPTOP}/core/state_folder.py:_remove unlink": "a file of the marked folder by one of our names",
    f"{LAPTOP}/core/child_process.py:ChildProcess.__init__ open": f"a log {STATE}, or of the demo's folder",
    f"{LAPTOP}/cli/demo.py:run_demo write_text": SCRATCH,
    f"{LAPTOP}/cli/demo_model.py:provide touch": STATE,
    f"{LAPTOP}/cli/demo_model.py:provide write_text": STATE,
    f"{LAPTOP}/cli/demo_model.py:run_module write_bytes": f"a log {STATE}, or of the demo's folder",
    f"{LAPTOP}/cli/control_server.py:ControlServer.__enter__ touch": STATE,
    f"{LAPTOP}/cli/control_server.py:ControlServer.__enter__ write_text": STATE,
    f"{LAPTOP}/cli/control_server.py:ControlServer.__exit__ unlink": STATE,
    f"{LAPTOP}/kubelet/folders.py:Folders.make_volumes touch": f"of one pod, {STATE}",
    f"{LAPTOP}/kubelet/folders.py:Folders.make_volumes write_bytes": f"of one pod, {STATE}",
    f"{LAPTOP}/kubelet/folders.py:Folders.make_root symlink_to": f"of one pod, {STATE}",
    f"{LAPTOP}/kubelet/folders.py:Folders.make_root unlink": f"of one pod, {STATE}",
    f"{LAPTOP}/kubelet/folders.py:Folders.make_root write_bytes": f"of one pod, {STATE}",
    f"{LAPTOP}/kubelet/folders.py:Folders.new_log replace": f"a log {STATE}",
    f"{LAPTOP}/kubelet/folders.py:Folders.remove rmtree": f"of one pod, {STATE}",
    f"{LAPTOP}/registry/http.py:RegistryHttp.append_body open": f"of one upload, {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler.post_uploads write_text": f"a new upload {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler.post_uploads touch": f"a new upload {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler.put_upload replace": f"a blob by its digest, {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler.put_upload rmtree": f"of one upload, {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler.delete_upload rmtree": f"of one upload, {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler.delete_manifest unlink": f"of one tag, {STATE}",
    f"{LAPTOP}/registry/routes.py:RegistryHandler._delete_link unlink": f"of one repository, {STATE}",
    f"{LAPTOP}/registry/routes.py:_write write_bytes": f"of one repository, {STATE}",
    f"{LAPTOP}/registry/routes.py:_write replace": f"of one repository, {STATE}",
    f"{RUNTIME}/pod/own_files.py:complete_or_nothing rmtree": "below .kaito, which has our record",
    f"{RUNTIME}/pod/own_files.py:_Written.save write_text": "below .kaito, which has our record",
    f"{RUNTIME}/pod/own_files.py:_Written.save replace": "below .kaito, which has our record",
    f"{RUNTIME}/pod/own_files.py:_Written.forget unlink": "the record itself",
    f"{RUNTIME}/pod/own_files.py:_Written.forget rmdir": "only when it is empty",
    f"{RUNTIME}/pod/own_files.py:_Written.remove unlink": OURS,
    f"{RUNTIME}/pod/own_files.py:_Written.remove rmdir": "only when it is empty, and a file of ours was in it",
    f"{RUNTIME}/pod/own_files.py:_move replace": OURS,
    f"{RUNTIME}/models/adapters/training.py:save_adapter save_pretrained": UNFINISHED,
    f"{RUNTIME}/models/adapters/training.py:save_adapter write_text": UNFINISHED,
    f"{RUNTIME}/models/adapters/training.py:save_adapter unlink": UNFINISHED,
    f"{RUNTIME}/models/adapters/initial.py:make_relative_to_base write_text": UNFINISHED,
    f"{RUNTIME}/serving/engines/vllm/adapter_files.py:AdapterReader._scaled copyfile": "into a "
    "fresh temporary folder",
    f"{RUNTIME}/serving/engines/vllm/errors.py:ErrorOutput._pass_on open": "the ends of a pipe",
    f"{RUNTIME}/models/rendering.py:write_rendering write_text": UNFINISHED,
    f"{RUNTIME}/transfer/hub.py:download_model rmtree": f"notes of the hub's client {UNFINISHED}",
    f"{RUNTIME}/transfer/hub.py:download_model rmdir": f"notes of the hub's client {UNFINISHED}",
    f"{RUNTIME}/transfer/web.py:download_all open": UNFINISHED,
    f"{RUNTIME}/transfer/web.py:download truncate": "the file that download_all has just made, or scratch",
    f"{RUNTIME}/transfer/layers.py:pack open": "writes to a file object that the caller opened",
    f"{RUNTIME}/transfer/layers.py:_apply unlink": f"files of this image {UNFINISHED}",
    f"{RUNTIME}/transfer/layers.py:_write open": f"files of this image {UNFINISHED}",
    f"{RUNTIME}/transfer/layers.py:_write symlink_to": f"files of this image {UNFINISHED}",
    f"{RUNTIME}/transfer/layers.py:_write os.link": f"files of this image {UNFINISHED}",
    f"{RUNTIME}/transfer/layers.py:_delete rmtree": f"files of this image {UNFINISHED}",
    f"{RUNTIME}/transfer/layers.py:_delete unlink": f"files of this image {UNFINISHED}",
    f"{RUNTIME}/transfer/images.py:pack_image open": SCRATCH,
    f"{RUNTIME}/demo/make.py:make_model copytree": UNFINISHED,
    f"{RUNTIME}/demo/make.py:_make_in_cache rename": "a rename onto a folder that is not empty fails",
    f"{RUNTIME}/demo/make.py:pretrain save_pretrained": SCRATCH,
    f"{RUNTIME}/demo/tokenizer.py:make_tokenizer save_pretrained": SCRATCH,
    f"{RUNTIME}/demo/lesson.py:_new_file open": "exclusive: the file must not be there",
    f"{RUNTIME}/demo/lesson.py:write_lesson write_table": "to the file that _new_file has opened",
    f"{RUNTIME}/pod/termination.py:write_message write_text": (
        "the kubelet's file for it; outside of pods only below KAITO_ROOT"
    ),
    "hooks/kaito_hooks/providers/aks/sweep/__main__.py:_tell write_text": "the kubelet's file for it",
}


def test_each_place_that_removes_or_overwrites_has_a_reason() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{where}"
        for folder in ("contract", "hooks", "runtime-images", "laptop")
        for path in (ROOT / folder).rglob("*.py")
        for where in places(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found - ALLOWED.keys() == set(), "say why nothing of somebody else can be lost there"
    assert ALLOWED.keys() - found == set(), "no such place any more"


def test_places_are_found_in_every_spelling() -> None:
    code = """
class Folder:
    def clean(self):
        shutil.rmtree(self.path); rmtree(self.path); os.remove("a"); os.replace("a", "b")
        self.path.replace(target); open("a", "w"); path.open(mode="ab"); self.path.write_text("a")
    def harmless(self):
        "a".replace("a", "b"); replace(self, name="a"); path.open(); open("a", "rb"); names.remove("a")
        registry.link("a", "b", "c")
"""
    assert sorted(places(ast.parse(code))) == [
        "Folder.clean open",
        "Folder.clean open",
        "Folder.clean os.remove",
        "Folder.clean os.replace",
        "Folder.clean replace",
        "Folder.clean rmtree",
        "Folder.clean rmtree",
        "Folder.clean write_text",
    ]


def places(node: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[str]:
    """Every call that removes or overwrites: the function that it is in, and what is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and (name := removes(child)):
            yield f"{'.'.join(inside)} {name}"
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield from places(child, (*inside, child.name))
        else:
            yield from places(child, inside)


def removes(call: ast.Call) -> str:
    """Return the name of what is called, empty when it changes no file."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "os":
        return f"os.{name}" if name in OF_OS and _writes(call, name) else ""
    if name == "open":
        return name if _writes(call, name) else ""
    if name == "replace":  # of a path: a text has two arguments, a data class keywords
        return name if len(call.args) == 1 and not call.keywords else ""
    return name if name in REMOVES else ""


def _writes(call: ast.Call, name: str) -> bool:
    if name != "open":
        return True
    is_built_in = isinstance(call.func, ast.Name)  # whose first argument is a file's name
    words = [*call.args[is_built_in:], *(keyword.value for keyword in call.keywords)]
    flags = " ".join(ast.unparse(word) for word in words if "O_" in ast.unparse(word))
    modes = [
        word.value
        for word in words
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    ]
    return "O_CREAT" in flags or any(
        set(mode) <= set("rwaxbt+|:gz*") and set(mode) & set("wax+") for mode in modes
    )
