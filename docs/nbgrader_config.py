"""nbgrader's settings for this course; ``python -m cifar_course.hand.grade prepare COURSE`` puts a copy into COURSE."""

from pathlib import Path

from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    Execute,
    LimitOutput,
    NbGraderPreprocessor,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

PRINTED = 100_000  # characters of what a cell prints that are kept


class BoundedExecute(Execute):
    """Executes a notebook and drops what a cell prints beyond ``PRINTED``: a loop would fill the grader's memory."""

    def output(self, outs, msg, display_id, cell_index):
        """Keep one message from the kernel among the cell's outputs, or drop it."""
        if msg["msg_type"] == "stream":
            kept, text = sum(len(out.get("text", "")) for out in outs), msg["content"]["text"]
            if kept > PRINTED:
                return None
            if kept + len(text) > PRINTED:
                msg["content"]["text"] = text[: PRINTED - kept] + "\n... Output truncated ..."
        return super().output(outs, msg, display_id, cell_index)


class WithoutStrays(NbGraderPreprocessor):
    """Makes a cell with an id that is taken or unknown an ordinary one; nbgrader itself gives the notebook up."""

    def preprocess_cell(self, cell, resources, cell_index):
        """Take nbgrader's metadata away from a cell that nbgrader has taken the id from."""
        if not cell.metadata.get("nbgrader", {}).get("grade_id"):
            cell.metadata.pop("nbgrader", None)
        return cell, resources


c = get_config()  # noqa: F821 (nbgrader's)
root = Path(__file__).resolve().parent
c.CourseDirectory.root = str(root)
# A folder of its own: beside the gradebook SQLite writes a journal, and a submission may write nowhere else in here.
# Submissions graded at the same time wait for each other's write.
c.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook' / 'gradebook.db'}?timeout=60"

c.ClearSolutions.code_stub = {"python": "# your code here\nraise NotImplementedError()"}  # as in the student edition
c.ClearSolutions.text_stub = "*Your answer here.*"

c.Execute.timeout = 30  # seconds a cell; the slowest of the course takes a third of it
c.Execute.iopub_timeout = 10  # a busy machine delivers outputs late
c.Autograde.sanitize_preprocessors = [
    ClearOutput,
    DeduplicateIds,
    OverwriteKernelspec,
    OverwriteCells,
    WithoutStrays,
    CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    BoundedExecute,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]

# What a learning platform delivers, unpacked or not, lies in downloaded/archive/ for all notebooks together.
# A student is known by the number in Project2-<id>_<name>, as `hand pack` names it, else by the first folder.
c.ZipCollectApp.collect_directory_structure = "{downloaded}/{collect_step}"
c.ZipCollectApp.strict = True  # other notebooks and 01_data-Copy1.ipynb stay out
c.FileNameCollectorPlugin.named_regexp = (
    r"(?!.*/(?:__MACOSX/|\._)).*?/downloaded/extracted/(?P<packed>.*?Project2-(?=\d+_))?"
    r"(?P<student_id>(?(packed)\d+|[^/]+))(?(packed)_|/)(?:.*?[/_])??(?P<file_id>\d\d[a-z]?_[a-z]\w*)\.ipynb$"
)
