"""What all decoders share: the paged cache, and a batch's way to the device and back.

Shape suffixes: T tokens in the batch, R rows whose logits are asked for, E rows whose last hidden
states are, D model width, K head width, V vocabulary, B sequences.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama import ops
from cl_llama.errors import LogitsError
from cl_llama.models.batch import Batch
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import cos_sin
from cl_llama.opencl.recording import Repeats
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.opencl.staging import Staging


@dataclass(frozen=True, eq=False)
class Step:
    """A batch on the device."""

    token_ids_T: DeviceArray
    positions_T: DeviceArray
    """Each token's, int32."""
    angles: DeviceArray
    """[T, K / 2, 2]: cosine and sine of each token's position."""
    local_angles: DeviceArray
    """The same of layers with a window."""
    slots_T: DeviceArray
    """Where each token's key and value go in the cache."""
    attention: ops.AttentionPlan
    last_rows: DeviceArray | None
    """[R + E], of T: the tokens whose logits are asked for, then those whose states are."""
    logits_rows: int
    """R."""
    shape: Hashable
    """Equal for steps that launch the same kernels on the same arrays."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a step leaves on the device."""

    logits_RV: DeviceArray
    last_ND: DeviceArray
    """[R + E, D]: the states after the last norm that the logits were made of, and those asked
    for."""


class Decoder(ABC):
    """A model on one device, with its paged cache; its kind says which kernels a step launches.

    Satisfies `models.batch.Model`. One thread at a time may call it.
    """

    block_size = ops.BLOCK

    def __init__(
        self,
        config: ModelConfig,
        runtime: Runtime,
        memory: MemoryPlan,
        family: Family | None,
        precision: ops.Precision,
    ) -> None:
        self.config = config
        self.num_blocks = memory.num_blocks
        self.memory = memory
        self.runtime = runtime
        self._family = family or runtime.family
        self._precision = precision
        self.caches = [
            ops.allocate_cache(
                runtime,
                memory.num_blocks,
                config.n_kv_heads,
                config.head_dim,
                family=self._family,
                kv_type=memory.kv_type,
            )
            for _ in range(config.n_layers)
        ]
        """Each layer's keys and values; a bench fills them."""
        self._staging = Staging(runtime)
        self._repeats: Repeats[Outputs] = Repeats(runtime)

    @property
    def precision(self) -> ops.Precision:
        """How exact products with weights are."""
        return self._precision

    def forward(self, batch: Batch) -> "DeviceLogits":
        """Run a ragged batch: write its keys and values, return what it asks for.

        Raises:
            DeviceError: the device failed, or ran out of memory.
        """
        step = self._upload(batch)
        outputs = self._repeats.run(step.shape, lambda: self._launch(step))
        return DeviceLogits(
            outputs.logits_RV, self._family, outputs.last_ND, self.config.logits_scale
        )

    def release(self) -> None:
        """Give up what it holds on the device, even if it is still referred to; it cannot run then.

        Its configuration and its sizes stay.
        """
        for name in ("caches", "_weights", "_staging", "_repeats"):
            vars(self).pop(name, None)

    @abstractmethod
    def _launch(self, step: Step) -> Outputs:
        """Queue a step's kernels."""

    def _scratch(self, name: str, rows: int, width: int) -> DeviceArray:
        return self.runtime.scratch(name, (rows, width), np.float32)

    def _upload(self, batch: Batch) -> Step:
        config, put = self.config, self._staging.put
        spans = [(len(s.token_ids), s.start) for s in batch.slices]
        positions, slots, rows, states = [], [], [], []
        longest = max(-(-(count + start) // ops.BLOCK) for count, start in spans)
        # A power of two: kernels are given the width, and it should not change often.
        tables_BW = np.zeros((len(spans), 1 << (longest - 1).bit_length()), np.int32)
        first = 0
        for b, (s, (count, start)) in enumerate(zip(batch.slices, spans, strict=True)):
            positions_n = np.arange(start, start + count, dtype=np.int32)
            blocks = -(-(count + start) // ops.BLOCK)
            tables_BW[b, :blocks] = s.block_table[:blocks]
            positions.append(positions_n)
            slots.append(
                tables_BW[b, positions_n // ops.BLOCK] * ops.BLOCK + positions_n % ops.BLOCK
            )
            rows.append(np.arange(first + count - s.logits_rows, first + count, dtype=np.int32))
            if s.states:
                states.append(np.arange(first, first + count, dtype=np.int32))
            first += count
        last_rows = np.concatenate(rows + states)
        token_ids_T = put(np.concatenate([s.token_ids for s in batch.slices]).astype(np.int32))
        all_positions = np.concatenate(positions)
        positions_T = put(all_positions)
        angles = put(cos_sin(config.rope, config.head_dim, all_positions))
        local_angles = angles
        if config.local_rope is not None:
            local_angles = put(cos_sin(config.local_rope, config.head_dim, all_positions))
        slots_T = put(np.concatenate(slots))
        last = put(last_rows) if len(last_rows) else None
        R = batch.logits_rows
        plan = ops.plan_attention(
            self.runtime,
            spans,
            put(tables_BW),
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            family=self._family,
            kv_type=self.memory.kv_type,
            capped=config.attention_softcap is not None,
            upload=put,
        )
        shape = (self._staging.send(), R, len(last_rows), plan.item_rows, plan.partials)
        return Step(
            *(token_ids_T, positions_T, angles, local_angles),
            *(slots_T, plan, last),
            logits_rows=R,
            shape=shape,
        )


class DeviceLogits:
    """Logits [R, V] of a step, and its states [E, D]; satisfies `models.batch.Logits`.

    Raises LogitsError where a row holds NaN: the weights or the driver are at fault, and a text
    made of it would be garbage.
    """

    def __init__(
        self,
        logits_RV: DeviceArray,
        family: Family,
        last_ND: DeviceArray | None = None,
        states_scale: float = 1.0,
    ) -> None:
        """last_ND: [R + E, D], times `states_scale`; the first R are what the logits are made of.

        None where no states are asked for.
        """
        self._logits_RV = logits_RV
        self._family = family
        self._last_ND = last_ND
        self._states_scale = states_scale

    @property
    def rows(self) -> int:
        """R."""
        return self._logits_RV.shape[0]

    def argmax(self) -> NDArray[np.int32]:
        """int32 [R]: the id of each row's largest logit; of equal ones the lowest id."""
        ids_R, values_R = ops.argmax(self._logits_RV, family=self._family)
        self._check(values_R)
        return ids_R

    def top_k(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Each row's k largest logits and their ids, descending; [R, k] each, 1 <= k <= 64."""
        ids_Rk, values_Rk = ops.top_k(self._logits_RV, k, family=self._family)
        self._check(values_Rk)
        return values_Rk, ids_Rk

    def logsumexp(self) -> NDArray[np.float32]:
        """float32 [R]: log of the sum of exp over each row."""
        totals = self._logits_RV.runtime.scratch("totals", (self.rows,), np.float32)
        ops.softmax(self._logits_RV, totals, in_place=False, family=self._family)
        totals_R: NDArray[np.float32] = totals.numpy()
        self._check(totals_R)
        return totals_R

    def at(self, ids_R: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [R]: each row's logit of one id."""
        return ops.pick(self._logits_RV, ids_R)

    def numpy(self) -> NDArray[np.float32]:
        """float32 [R, V], copied to the host."""
        logits_RV: NDArray[np.float32] = self._logits_RV.numpy()
        if self.rows:
            self._check(logits_RV.max(axis=1))
        return logits_RV

    def wait(self) -> None:
        """Until the step has run; DeviceError if it failed."""
        self._logits_RV.runtime.finish()

    def states(self) -> NDArray[np.float32]:
        """float32 [E, D]: the hidden states asked for, after the last norm, on the host."""
        assert self._last_ND is not None
        states_ED: NDArray[np.float32] = self._last_ND.numpy()[self.rows :]
        self._check(states_ED)
        return states_ED / np.float32(self._states_scale)

    def _check(self, values: NDArray[np.float32]) -> None:
        if np.isnan(values).any():
            raise LogitsError(
                f"{self._logits_RV.runtime.device.label}: the model's logits are not numbers; "
                "damaged weights, values beyond f16 in the cache, or a fault of the driver"
            )
