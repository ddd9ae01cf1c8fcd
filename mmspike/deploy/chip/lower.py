"""An exported network in the few operations that the chip format has."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmspike.deploy.int8 import FRACTION_BITS, PICTURE_BITS, fraction_bits
from mmspike.errors import UserError

from .neuron_constants import describe_neuron

PASSES = ('clone', 'contiguous', 'dropout', 'feature_dropout', 'detach', 'alias', '_to_copy', 'to')
RESHAPES = ('view', '_unsafe_view', 'reshape', 'flatten', 'unflatten', 'squeeze', 'unsqueeze')
RESIZES = {
    'upsample_nearest2d': 'nearest',
    'upsample_bilinear2d': 'bilinear',
    'adaptive_avg_pool2d': 'average',
}
NORMS = ('batch_norm', '_native_batch_norm_legit_no_training', 'group_norm', 'layer_norm')


class Lowered(NamedTuple):
    """A network in operations of the chip format.

    Args:
        nodes: What ``graph.json`` says of each, in the order in which they run.
        outputs: The names of the nodes that predict.
        arrays: What nodes need beside weights and thresholds, by their names in the files.
        places: The name of the node for each of the exported graph that is one.
    """

    nodes: list[dict]
    outputs: list[str]
    arrays: dict[str, Tensor]
    places: dict[str, str]


def lower(program: Any, model: nn.Module) -> Lowered:
    """Say an exported network in the operations of the chip format.

    Args:
        program: What `mmspike.deploy.chip.trace.trace` gives.
        model: The model in its int8 form; its neurons and layers are looked up.

    Raises:
        UserError: If an operation is none of them.
    """
    return _Lowering(program, model).run()


class _Lowering:
    """One run of `lower`."""

    def __init__(self, program: Any, model: nn.Module) -> None:
        self.program, self.model = program, model
        signature = program.graph_signature
        self.layers = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
        }
        self.done = Lowered([], [], {}, {})
        self.by_name: dict[str, dict] = {}
        self.ways: dict[str, Callable[[Any, list], dict]] = {
            'fire': self._neuron,
            'conv2d': self._conv,
            'linear': self._linear,
            'matmul': lambda node, ins: self._exact('matmul', sum, ins),
            'add': self._add,
            'mul': self._multiply,
            'div': self._multiply,
            'cat': lambda node, ins: self._exact('concat', max, ins, axis=_cat_axis(node)),
            'max_pool2d': self._max_pool,
            'permute': lambda node, ins: self._exact('transpose', max, ins, axes=node.args[1]),
            'transpose': self._transpose,
            'sum': self._reduce,
            'mean': self._reduce,
            **dict.fromkeys(RESIZES, self._resize),
        }

    def run(self) -> Lowered:
        for node in self.program.graph.nodes:
            if node.op == 'placeholder' and node.name not in self.layers:
                said = {'op': 'picture', 'arrays': ['picture.values']}
                self._append(node, {**said, 'fraction_bits': PICTURE_BITS}, 'picture', [])
            elif node.op == 'call_function':
                self._lower(node)
            elif node.op == 'output':
                self.done.outputs.extend(self.done.places[out.name] for out in node.args[0])
        used = {name for entry in self.done.nodes for name in entry['inputs']}
        nodes = [n for n in self.done.nodes if n['name'] in used.union(self.done.outputs)]
        return self.done._replace(nodes=nodes)

    def _lower(self, node: Any) -> None:
        kind = node.target.__name__.partition('.')[0].rstrip('_')
        places = self.done.places
        given = [n for n in node.all_input_nodes if n.name in places]
        # Of a tensor that is added to itself there is one input node.
        if kind in ('add', 'mul', 'matmul'):
            given = [n for n in node.args if isinstance(n, torch.fx.Node)]
        elif kind == 'cat':
            given = list(node.args[0])
        ins = [self.by_name[places[n.name]] for n in given if n.name in places]
        reshapes = kind in RESHAPES
        if kind in PASSES or (reshapes and list(node.meta['val'].shape) == ins[0]['shape']):
            places[node.name] = ins[0]['name']
            return
        if reshapes:
            if ins[0]['op'] == 'view':
                ins = [self.by_name[ins[0]['inputs'][0]]]
            said = self._exact('view', max, ins)
        elif kind in self.ways and len(ins) == len(given):
            said = self.ways[kind](node, ins)
        else:
            raise self._unknown(node, kind)
        own = said.pop('name', None) or f'{_module_of(node)[0]}.{said["op"]}'.lstrip('.')
        self._append(node, said, own, ins)

    def _append(self, node: Any, said: dict, name: str, ins: list[dict]) -> None:
        calls = sum(n['name'].partition('@')[0] == name for n in self.done.nodes)
        name = f'{name}@{calls + 1}' if calls else name  # Levels that share a head call it again.
        arrays = said.pop('arrays', [])
        if isinstance(arrays, dict):
            self.done.arrays.update({f'{name}.{key}': array for key, array in arrays.items()})
        # Calls share the arrays of a layer, which a list names; others are a node's own.
        own = arrays if isinstance(arrays, list) else [f'{name}.{key}' for key in arrays]
        entry = {
            'name': name,
            'op': said.pop('op'),
            'inputs': [*(n['name'] for n in ins), *own],
            'shape': list(node.meta['val'].shape),
            **said,
        }
        self.done.nodes.append(entry)
        self.by_name[name] = entry
        self.done.places[node.name] = name

    def _exact(self, op: str, combine: Callable, ins: list[dict], **more: Any) -> dict:
        """Say an operation whose values are sums of its inputs' or of products of them."""
        bits = [n['fraction_bits'] for n in ins]
        return {'op': op, 'fraction_bits': None if None in bits else combine(bits), **more}

    def _neuron(self, node: Any, ins: list[dict]) -> dict:
        name = node.args[1]
        said = describe_neuron(self.model.get_submodule(name), ins[0]['fraction_bits'])
        arrays = 'thresholds', 'rest', 'reset'
        return {'op': 'neuron', 'name': name, 'fraction_bits': 0, 'arrays': arrays, **said}

    def _weights(self, op: str, node: Any, ins: list[dict], **more: Any) -> dict:
        layer = self.layers[node.args[1].name].removeprefix('model.').removesuffix('.weight')
        bits: int = self.model.get_submodule(layer).scale_bits  # type: ignore[assignment]
        if bits != FRACTION_BITS and ins[0]['op'] != 'picture':
            raise UserError(
                f'{layer} sees real values and not spikes, as the layers of an ordinary network '
                'do behind time_reduction, but of such the format chip has the first alone; '
                'export a model that spikes up to its predictions.'
            )
        arrays = [f'{layer}.{part}' for part in ('weight', 'scale', 'bias')]
        said = self._exact(op, max, ins, arrays=arrays, layer=layer, scale_bits=bits, **more)
        if said['fraction_bits'] is not None:
            said['fraction_bits'] = max(FRACTION_BITS, said['fraction_bits'] + bits)
        return {**said, 'name': layer}

    def _linear(self, node: Any, ins: list[dict]) -> dict:
        return self._weights('linear', node, ins)

    def _conv(self, node: Any, ins: list[dict]) -> dict:
        stride, padding, dilation = (
            _pair(node.args[i] if len(node.args) > i else default)
            for i, default in ((3, 1), (4, 0), (5, 1))
        )
        kernel = list(node.args[1].meta['val'].shape[2:])
        options = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        groups = node.args[6] if len(node.args) > 6 else 1
        return self._weights('conv', node, ins, **options, groups=groups)

    def _add(self, node: Any, ins: list[dict]) -> dict:
        if len(ins) != 2 or node.kwargs.get('alpha', 1) != 1:
            raise self._unknown(node, 'add')
        return self._exact('add', max, ins)

    def _multiply(self, node: Any, ins: list[dict]) -> dict:
        if len(ins) == 2:
            return self._exact('multiply', sum, ins)
        factor = 1 / node.args[1] if node.target.__name__.startswith('div') else node.args[1]
        return self._sum(ins, [], factor)

    def _sum(self, ins: list[dict], axes: Sequence[int], factor: float) -> dict:
        said = self._exact('sum', max, ins, axes=list(axes), factor=factor)
        return _finer(said, fraction_bits(factor))

    def _transpose(self, node: Any, ins: list[dict]) -> dict:
        axes = list(range(len(ins[0]['shape'])))
        first, second = node.args[1:]
        axes[first], axes[second] = axes[second], axes[first]
        return self._exact('transpose', max, ins, axes=axes)

    def _reduce(self, node: Any, ins: list[dict]) -> dict:
        shape = ins[0]['shape']
        axes = node.args[1] if len(node.args) > 1 else list(range(len(shape)))
        mean = node.target.__name__.startswith('mean')
        return self._sum(ins, axes, 1 / math.prod(shape[axis] for axis in axes) if mean else 1)

    def _max_pool(self, node: Any, ins: list[dict]) -> dict:
        args = [*node.args[1:], *[None] * 5]
        kernel, padding, dilation, ceil = _pair(args[0]), args[2] or 0, args[3] or 1, args[4]
        if ceil:
            raise self._unknown(node, 'max_pool2d')
        options = dict(
            kernel=kernel,
            stride=_pair(args[1] or kernel),
            padding=_pair(padding),
            dilation=_pair(dilation),
        )
        return self._exact('max_pool', max, ins, **options)

    def _resize(self, node: Any, ins: list[dict]) -> dict:
        kind = node.target.__name__.partition('.')[0]
        matrices = {}
        for name, length in zip(('rows', 'columns'), ins[0]['shape'][2:], strict=True):
            # What becomes of a 1 in each row: the operation is linear, and separable.
            ones = torch.eye(length, dtype=torch.float64)[None]  # [1, L, L]
            rows = name == 'rows'
            out = node.target(ones[..., None] if rows else ones[:, :, None], *node.args[1:])
            matrices[name] = (out[0, :, :, 0] if rows else out[0, :, 0]).T.contiguous()
        said = self._exact('resize', max, ins, mode=RESIZES[kind], arrays=matrices)
        for matrix in matrices.values():
            _finer(said, fraction_bits(matrix))
        return said

    def _unknown(self, node: Any, kind: str) -> UserError:
        name, cls = _module_of(node)
        where = name or 'the model'
        if kind in NORMS:
            return UserError(
                f'{where} is a {cls} that no weights can hold: it depends on the input or shares '
                'its convolution with others, as the levels of RetinaNet and RTMDet do, and the '
                'format chip has weights and neurons alone; export a model with BN behind '
                'convolutions of their own, such as Semantic FPN or YOLOX.'
            )
        known = ', '.join(self.ways)
        return UserError(
            f'{where} (a {cls}) computes {kind}, which the format chip does not have; it has '
            f'{known}.'
        )


def _finer(said: dict, bits: int | None) -> dict:
    """Let the unit of a node be so many bits finer; None is no unit."""
    before = said['fraction_bits']
    said['fraction_bits'] = None if bits is None or before is None else before + bits
    return said


def _module_of(node: Any) -> tuple[str, str]:
    """Name the module that an operation of the exported graph comes from, and its class."""
    stack = list(node.meta.get('nn_module_stack', {}).values())
    name, kind = stack[-1] if stack else ('', 'model')
    return name.removeprefix('model').lstrip('.'), str(kind).rpartition('.')[2]


def _cat_axis(node: Any) -> int:
    return node.args[1] if len(node.args) > 1 else 0


def _pair(value: int | Sequence[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values
