"""VOC's layout: mmdet's datasets, which match classes by name and leave out what stands twice."""

from collections import Counter
from typing import Any
from xml.etree.ElementTree import ElementTree

from mmdet.datasets import VOCDataset as StockVOCDataset
from mmdet.datasets import XMLDataset as StockXMLDataset

from mmspike.datasets.annotation_mends import SHOWN, same_names, warn
from mmspike.datasets.annotations import OTHER_CLASS, AnnotationFile, CountFiltered
from mmspike.registry import DATASETS

SIDES = ('xmin', 'ymin', 'xmax', 'ymax')
FLAGS = ('-1', '0', '1')
BROKEN = 'without a name or a box'


class MatchNames(CountFiltered):
    """A mixin for `XMLDataset`: names mean classes without regard to case and outer spaces.

    Objects of the same name and box, and pictures that are listed twice, count once. Names that
    mean no class are warned of, and objects without a name or a box left out.

    Attributes:
        annotation_file: The objects of all files, and how many are left out.
    """

    annotation_file: AnnotationFile
    ann_file: str
    _metainfo: dict

    def load_data_list(self) -> list[dict]:
        self.annotation_file = AnnotationFile(self.ann_file)
        self._others: Counter[str] = Counter()
        self._renamed: Counter[tuple[str, str]] = Counter()
        self._copies = self._broken = 0
        self._parsed: dict[str, dict] = {}
        listed = super().load_data_list()  # type: ignore[misc]
        self._tell(sum(bool(info) for info in listed) - len(self._parsed))
        return list(self._parsed.values())

    def parse_data_info(self, img_info: dict) -> dict:
        # VOC's own lists of a class have a flag behind each name, and some end with empty lines.
        id, *flag = img_info['img_id'].split() or ['']
        if not id:
            return {}
        if flag and flag[0] in FLAGS:
            told = img_info['img_id']
            img_info = {key: value.replace(told, id) for key, value in img_info.items()}
        path = img_info['xml_path']
        if path not in self._parsed:
            self._parsed[path] = super().parse_data_info(img_info)  # type: ignore[misc]
        return self._parsed[path]

    def _parse_instance_info(self, raw_ann_info: ElementTree, **options: Any) -> list[dict]:
        root: Any = raw_ann_info.getroot()
        kept: dict[tuple, Any] = {}
        for one in root.findall('object'):
            name, difficult = one.find('name'), one.find('difficult')
            try:
                box = [float(one.findtext(f'bndbox/{key}')) for key in SIDES]
                told = name.text or ''
            except (AttributeError, TypeError, ValueError):  # It has no name, or no numbers.
                root.remove(one)
                self._broken += 1
                continue
            if difficult is not None and (difficult.text or '').strip() not in FLAGS:
                difficult.text = '0'  # Such as 'Unspecified'.
            name.text = same_names([told], self._metainfo['classes']).get(told, told)
            place = (name.text, *box)
            first = kept.setdefault(place, one)
            if first is not one:
                self._copies += 1
                plain = one if first.findtext('difficult') == '1' else first
                root.remove(first if plain is one else one)
                kept[place] = plain
                continue
            self.annotation_file.objects += 1
            if name.text != told:
                self._renamed[told, name.text] += 1
            elif told not in self._metainfo['classes']:
                self._others[told] += 1
        return super()._parse_instance_info(raw_ann_info, **options)  # type: ignore[misc]

    def _tell(self, entries: int) -> None:
        path = self.ann_file
        if self._others:
            self.annotation_file.left_out[OTHER_CLASS] = self._others.total()
            names = ', '.join(f"'{name}' ({n})" for name, n in self._others.most_common(SHOWN))
            warn(f"Objects of '{path}' are left out, as no class has their names: {names}.")
        if self._renamed:
            pairs = ', '.join(f"'{told}' as '{name}'" for told, name in list(self._renamed)[:SHOWN])
            warn(f"The names of {self._renamed.total()} objects of '{path}' are read {pairs}.")
        if self._copies:
            warn(f"{self._copies} objects of '{path}' are annotated twice and left out once.")
        if self._broken:
            self.annotation_file.left_out[BROKEN] = self._broken
            warn(f"{self._broken} objects of '{path}' are left out, as they are {BROKEN}.")
        if entries:
            warn(f"'{path}' lists pictures more than once: {entries} entries are left out.")


@DATASETS.register_module()
class XMLDataset(MatchNames, StockXMLDataset):
    """mmdet's `XMLDataset`, whose objects mean classes by name (`MatchNames`).

    The arguments are those of `mmdet.datasets.XMLDataset`.
    """


@DATASETS.register_module()
class VOCDataset(MatchNames, StockVOCDataset):
    """mmdet's `VOCDataset`, whose objects mean classes by name (`MatchNames`).

    The arguments are those of `mmdet.datasets.VOCDataset`.
    """
