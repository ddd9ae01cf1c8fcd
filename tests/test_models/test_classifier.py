"""Classification inside mmpretrain: parity with the released classifier, and distillation."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from released import golden, golden_images, released_checkpoint
from spikes import may_see_real_values, see_real_values

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.commands.convert import convert_checkpoint
from mmspike.commands.test import test as run_test
from mmspike.errors import UserError
from mmspike.models.backbones.meta_spikeformer_released import RELEASED

pytest.importorskip('mmpretrain', reason='classifiers are models of mmpretrain')
from mmpretrain.structures import DataSample  # noqa: E402

CONFIGS = Path(__file__).parents[2] / 'configs'
TINY = dict(dims=(8, 8, 8, 16, 16), depths=(1,) * 5, heads=2)
T, B, CLASSES = 2, 2, 5
GOLDEN_CONFIG = """
_base_ = ['{base}']
custom_imports = dict(imports=['golden_dataset'])
model = dict(
    backbone=dict(time_steps={time_steps}),
    data_preprocessor=dict(mean=None, std=None, to_rgb=False),
)
test_dataloader = dict(
    _delete_=True,
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='GoldenImages', time_steps={time_steps}),
    collate_fn=dict(type='default_collate'),
)
test_evaluator = dict(type='Accuracy', topk=1)
"""


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp('released')
    torch.save(released_checkpoint('15m'), folder / 'released.pth')
    convert_checkpoint(folder / 'released.pth', folder / 'converted.pth')
    return folder / 'converted.pth'


@pytest.mark.parametrize('time_steps', [1, 4])
def test_the_tool_decides_as_the_released_classifier(converted, time_steps, tmp_path):
    config = tmp_path / 'golden.py'
    base = CONFIGS / 'metaspike-15m_t1_in1k.py'
    config.write_text(GOLDEN_CONFIG.format(base=base, time_steps=time_steps))
    metrics = run_test([str(config), str(converted), '--work-dir', str(tmp_path / 'work')])
    assert metrics['accuracy/top1'] == 100.0


def build(name, **options):
    model = Config.fromfile(CONFIGS / f'{name}.py').model
    model.update(options)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(model)


def test_parameters_of_the_paper():
    for name, count in (
        ('15m_t1', 15_112_208),
        ('31m_t1', 31_333_864),
        ('55m_t1', 55_350_248 + 641_000),  # The second linear layer.
    ):
        model = build(f'metaspike-{name}_in1k')
        assert sum(p.numel() for p in model.parameters()) == count


def test_a_converted_distilled_file_gives_the_mean_of_both_layers():
    released = released_checkpoint('15m', distilled=True)['model']
    one = {k: v for k, v in released.items() if not k.startswith('head_kd')}
    other = {k: released.get(k.replace('head.', 'head_kd.'), v) for k, v in one.items()}
    plain = build('metaspike-15m_t4_in1k').double().eval()
    both = build(
        'metaspike-15m_t4_in1k',
        type='mmspike.DistilledSpikeClassifier',
        head=dict(type='mmspike.SpikeDistilledClsHead', in_channels=360, num_classes=1000),
    )
    both.double().load_state_dict(RELEASED.convert_state_dict(released), strict=True)
    logits = []
    with torch.no_grad():
        for weights in (one, other):
            plain.load_state_dict(RELEASED.convert_state_dict(weights), strict=True)
            logits.append(plain(golden_images()))
        mean = both.eval()(golden_images())
    torch.testing.assert_close(logits[0], torch.from_numpy(golden(4)['logits']), atol=1e-9, rtol=0)
    torch.testing.assert_close(mean, sum(logits) / 2, atol=1e-9, rtol=0)


def tiny(head='mmspike.SpikeLinearClsHead', **options):
    """The narrow model of a config, and a batch for it."""
    backbone = dict(
        type='mmspike.MetaSpikeFormer', arch=TINY, time_steps=T, neuron=dict(type='mmspike.LIF')
    )
    torch.manual_seed(0)
    loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    head = dict(type=head, in_channels=16, num_classes=CLASSES, loss=loss)
    model = build('metaspike-15m_t1_in1k', backbone=backbone, head=head, **options)
    samples = [DataSample().set_gt_label(i) for i in range(B)]
    return randomize_norms(model), torch.randn(B, 3, 32, 48), samples


def test_the_classifier_spikes_and_answers_once_an_image():
    model, x, samples = tiny()
    assert see_real_values(model.eval(), lambda: model(x)) == may_see_real_values(model)
    assert model(x).shape == (B, CLASSES)
    model.train().loss(x, samples)['loss'].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def teacher_config():
    """A stock classifier; its first layers are ours because they are small."""
    return dict(
        type='ImageClassifier',
        backbone=dict(type='mmspike.MetaSpikeFormer', arch=TINY, time_reduction='mean'),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=16, num_classes=CLASSES),
    )


@pytest.fixture
def teacher_file(tmp_path):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        teacher = randomize_norms(MODELS.build(teacher_config()))
    torch.save({'state_dict': teacher.state_dict()}, tmp_path / 'teacher.pth')
    return tmp_path / 'teacher.pth'


def distilled(file, teacher=None):
    return tiny(
        'mmspike.SpikeDistilledClsHead',
        type='mmspike.DistilledSpikeClassifier',
        teacher=teacher or teacher_config(),
        teacher_checkpoint=str(file),
    )


def test_distillation_learns_from_labels_and_from_a_frozen_teacher(teacher_file):
    model, x, samples = distilled(teacher_file)
    model.teacher.init_weights()
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    weights = torch.load(teacher_file)['state_dict']
    assert all(torch.equal(before[k], weights[k]) for k in weights)
    assert not any('teacher' in name for name in model.state_dict())
    model.train()
    assert not model.teacher.training
    losses = model.loss(x, samples)
    sum(losses.values()).backward()
    assert model.head.fc_kd.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.parameters())
    # By hand, from the two layers' outputs.
    with torch.no_grad():
        decided = model.teacher(x).argmax(1)
        model.eval()
        features = model.extract_feat(x)
        own, told = (layer(features[-1]) for layer in (model.head.fc, model.head.fc_kd))
        losses = model.head.loss(features, samples, teacher_logits=model.teacher(x))
    cross_entropy = torch.nn.functional.cross_entropy
    expected = cross_entropy(own, torch.arange(B), label_smoothing=0.1)  # As the config says.
    torch.testing.assert_close(losses['loss'], expected / 2)
    torch.testing.assert_close(losses['loss_kd'], cross_entropy(told, decided) / 2)
    after = model.teacher.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_the_teacher_follows_the_student_to_another_device_or_precision(teacher_file):
    model, _, _ = distilled(teacher_file)
    model.double()
    assert {p.dtype for p in model.teacher.parameters()} == {torch.float64}


def test_a_teacher_given_as_a_config_file(teacher_file, tmp_path):
    file = tmp_path / 'teacher.py'
    file.write_text(f'model = {teacher_config()!r}')
    assert distilled(teacher_file, str(file))[0].teacher.head.num_classes == CLASSES


@pytest.mark.parametrize('place', ['in the model', 'beside it', 'nowhere', 'as they are'])
def test_a_teacher_sees_images_as_it_was_trained(teacher_file, tmp_path, place):
    """The truth is what mmpretrain makes of the raw pictures for the teacher itself."""
    normalized = dict(mean=[120.0, 110.0, 100.0], std=[58.0, 57.0, 56.0], to_rgb=False)
    teacher, lines = teacher_config(), ''
    if place == 'as they are':
        teacher['data_preprocessor'] = dict(to_rgb=False)
    elif place == 'in the model':
        teacher['data_preprocessor'] = normalized
    elif place == 'beside it':
        lines = f'data_preprocessor = {normalized!r}\n'
    file = tmp_path / 'teacher.py'
    file.write_text(f'{lines}model = {teacher!r}')
    model, _, samples = distilled(teacher_file, str(file))
    seen = []
    model.teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    raw = dict(inputs=torch.randint(0, 256, (B, 3, 32, 48)), data_samples=samples)
    given = model.data_preprocessor(raw, True)
    assert model.data_preprocessor.to_rgb
    model.train().loss(**given)
    theirs = model.teacher.data_preprocessor(raw)['inputs']
    expected = given['inputs'] if place == 'nowhere' else theirs
    torch.testing.assert_close(seen[0], expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(theirs, given['inputs'], atol=0.1)


@pytest.mark.parametrize(
    ('teacher', 'file', 'message'),
    [
        (teacher_config(), '', 'teacher_checkpoint is not set'),
        (
            {**teacher_config(), 'head': dict(type='LinearClsHead', in_channels=16, num_classes=7)},
            'teacher.pth',
            'teacher has num_classes=7 and the student num_classes=5',
        ),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(teacher, file, message):
    with pytest.raises(UserError, match=message):
        distilled(file, teacher)


def test_training_without_a_teacher_is_refused():
    model, x, samples = tiny(
        'mmspike.SpikeDistilledClsHead', type='mmspike.DistilledSpikeClassifier'
    )
    assert model(x).shape == (B, CLASSES)
    with pytest.raises(UserError, match=r'model\.teacher is not set'):
        model.loss(x, samples)
