"""Recompute every layer from the files of this folder, in it, as docs/hardware.md explains them."""

import json
import numpy as np

def taps(x, node, border):  # What each place of the kernel sees, [N, C, height, width].
    x = np.pad(x, [(0, 0)] * 2 + [(p, p) for p in node['padding']], constant_values=border)
    (sy, sx), (dy, dx), (h, w) = node['stride'], node['dilation'], node['shape'][2:]
    for i, j in np.ndindex(*node['kernel']):
        yield i, j, x[:, :, i * dy :, j * dx :][:, :, ::sy, ::sx][:, :, :h, :w]

def conv(x, weight, scale, bias, node):
    weight, out = (weight * scale).reshape(node['groups'], -1, *weight.shape[1:]), 0
    for i, j, tap in taps(x, node, 0):
        out = out + weight[..., i, j] @ tap.reshape(len(x), *weight.shape[:3:2], -1)
    return out.reshape(node['shape']) + bias[:, None, None]

def fire(x, thresholds, rest, reset, node):  # [T, D, neurons]: the sub-steps of every step.
    v, fired = rest, []
    for now in x.reshape(node['time_steps'], -1):
        u = rest + node['keep'] * (v - rest) + now / node['divide']
        fired.append(u >= thresholds[:, None])
        v = u - reset * fired[-1].sum(0) if node['subtracts'] else np.where(fired[-1][0], rest, u)
    return np.array(fired)

OPS = {
    'concat': lambda *x: np.concatenate(x[:-1], x[-1]['axis']),
    'conv': conv,
    'linear': lambda x, weight, scale, bias, node: x @ (weight * scale).T + bias,
    'max_pool': lambda x, node: np.max([tap for _, _, tap in taps(x, node, -np.inf)], axis=0),
    'neuron': fire,
    'resize': lambda x, rows, columns, node: rows @ x @ columns.T,
    'sum': lambda x, node: x.sum(tuple(node['axes'])) * node['factor'],
    'transpose': lambda x, node: x.transpose(node['axes']),
}
graph, wrong = json.load(open('graph.json')), []
for run in graph['runs']:
    values, total = {**np.load(run['weights']), **np.load(run['spikes'])}, 0
    values.update({k: values[k] * 2.0**-bits for k, bits in graph['bits'][run['form']].items()})
    for name, op, args, node in [(n['name'], n['op'], n['inputs'], n) for n in graph['nodes']]:
        args = [values[arg] for arg in args]  # Other operations are numpy's, or change nothing.
        made = OPS[op](*args, node) if op in OPS else getattr(np, op, np.positive)(*args)
        if op == 'neuron':  # Go on from what is recorded, so that each layer is tested by itself.
            told = np.unpackbits(values[f'{name}.spikes'], count=made.size).reshape(made.shape)
            wrong += [f'{name} in {run["spikes"]}'] * bool((told != made).any())
            total, made = total + told.sum(), told.sum(1, dtype=float)
        values[name] = made.reshape(node['shape'])
    off = max(np.abs(values[name] - values[f'{name}.told']).max() for name in graph['outputs'])
    print(f'{run["spikes"]}: {total} spikes, outputs off by {off:.3g}')
raise SystemExit(f'Spikes differ: {", ".join(wrong)}' if wrong else print('All spikes are equal'))
