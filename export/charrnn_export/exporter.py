"""Exporting one target: convert, compare with the trained model, describe what was measured.

A converted model is compared from the very bytes that will be written, run by the engine that devices use. Only plain C
can pass unverified, for machines without a compiler; its entries then say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charrnn_export.generate_parity import GeneratorReport, check_generator
from charrnn_export.parity import TOLERANCES, CostError, ParityReport, Tolerance, check_parity
from charrnn_export.targets import PRECISIONS, Target
from charrnn_export.writers import WRITERS, ExportSource, open_generate
from charrnn_runtime.bundle import golden
from charrnn_runtime.bundle.manifest import NOT_CHECKED, Description, FileEntry
from charrnn_runtime.core.files import sha256
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.signature import SIGNATURE_NAME
from charrnn_runtime.core.step import Step
from charrnn_runtime.errors import CharrnnError


def record_transcript(step: Step, description: Description, tolerance: Tolerance) -> Description:
    """Return a description with the golden transcript of a step.

    Args:
        step: The trained model; for lower precision, the exported step.
        description: What the model is.
        tolerance: What a replay on a device may differ by.
    """
    transcript = golden.record(
        step,
        description.vocabulary,
        stop_at_boundary=description.stop_at_boundary,
        tolerance=tolerance.log_probability,
        same_text=tolerance.same_text,
    )
    return replace(description, golden=transcript)


@dataclass(frozen=True)
class Exporter:
    """Exports one target after another of the same model."""

    source: ExportSource

    description: Description
    """What every file carries; its transcript is that of the trained model."""

    max_cost: float | None = None
    """Accepted cost of lower precision, in bits per character; None takes the default of each precision."""

    verify: bool = True
    """Whether plain C is compiled and compared. If not, the same weights are compared in its place."""

    stages: Stages = SilentStages()

    def export(self, target: Target) -> tuple[Mapping[str, bytes], Mapping[str, FileEntry]]:
        """Return the files of a target and their entries in the manifest, both by name.

        Raises:
            ParityError: The exported step does not agree with the trained model, or costs too much.
            EngineMissingError: There is no compiler for plain C.
            OperationError: A converter failed.
        """
        writer, description, parity = WRITERS[target.format], self.description, dict[str, Any]()
        unverified = writer.stand_in is not None and not self.verify
        kind = f"{target.precision}, unverified" if unverified else target.precision
        with self.stages.stage(f"converting {target.file_name} ({kind})"):
            draft = writer.draft(self.source, target)
            files = draft(description)
        if SIGNATURE_NAME in target.signatures:
            step = self._open(target, files)
            parity |= self._check_step(target, step).to_json()
            if target.precision != "fp32":
                description = record_transcript(step, description, self._tolerance(target))
                files = draft(description)
                step = self._open(target, files)
            self._replay(target, step, description)
        if target.generate:
            parity["generate"] = self._check_generator(target, files).to_json()
        measured = NOT_CHECKED if unverified else parity
        return files, {
            name: FileEntry(
                target.format, target.precision, len(data), sha256(data), writer.opset, measured, target.signatures
            )
            for name, data in files.items()
        }

    def _open(self, target: Target, files: Mapping[str, bytes]) -> Step:
        writer = WRITERS[target.format]
        if writer.stand_in and not self.verify:
            return writer.stand_in(self.source, target)
        with self.stages.stage(f"{'compiling' if writer.stand_in else 'loading'} {target.file_name}"):
            return writer.open(files)

    def _tolerance(self, target: Target) -> Tolerance:
        tolerance = TOLERANCES[target.precision]
        if self.max_cost is None or target.precision == "fp32":
            return tolerance
        return replace(tolerance, bits_per_character=self.max_cost)

    def _check_step(self, target: Target, step: Step) -> ParityReport:
        try:
            return self._compare(target, step)
        except CostError as error:
            raise CostError(f"{error} (--max-cost); {self._cheaper_precision(target)}") from error

    def _compare(self, target: Target, step: Step) -> ParityReport:
        return check_parity(
            self.source.reference,
            step,
            self.source.held_out,
            name=target.file_name,
            tolerance=self._tolerance(target),
            stages=self.stages,
        )

    def _cheaper_precision(self, target: Target) -> str:
        """Say, for an error, which more exact precision of the same format costs no more than is accepted."""
        legal = PRECISIONS[target.format]
        for precision in reversed(legal[: legal.index(target.precision)]):
            other = Target(target.format, precision)
            try:
                files = WRITERS[target.format].draft(self.source, other)(self.source.description)
                report = self._compare(other, self._open(other, files))
            except CharrnnError:
                continue
            return f"{precision} would do, which differs by {report.delta_bits_per_character:+.2e}"
        return "no other precision of this format would do"

    def _replay(self, target: Target, step: Step, description: Description) -> None:
        if description.golden is None:
            return
        with self.stages.stage(f"replaying the transcript of {target.file_name}"):
            stop_at_boundary = description.stop_at_boundary
            golden.replay(step, description.vocabulary, description.golden, stop_at_boundary=stop_at_boundary)

    def _check_generator(self, target: Target, files: Mapping[str, bytes]) -> GeneratorReport:
        description, generator = self.description, open_generate(files)
        stop_at_boundary = description.stop_at_boundary
        report = check_generator(
            self.source.reference,
            generator,
            stop_at_boundary=stop_at_boundary,
            name=f"{target.file_name}, generate",
            stages=self.stages,
        )
        if description.golden is not None:
            golden.replay_generator(
                generator, description.vocabulary, description.golden, stop_at_boundary=stop_at_boundary
            )
        return report
