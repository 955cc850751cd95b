"""Evaluations of backbones by what they do elsewhere: a file each, and the tuple that lists them.

What is imported here loads neither torch nor NumPy: the schema, the command line and the workflow
take their evaluations from the tuple, and nothing else names one.
"""

from typing import Any

from cyborgs.evaluation.coco_instances import COCO_INSTANCES
from cyborgs.evaluation.imagenet_linear import IMAGENET_LINEAR
from cyborgs.evaluation.kinds import Evaluation
from cyborgs.evaluation.objects import OBJECTS
from cyborgs.evaluation.segmentation import SEGMENTATION
from cyborgs.evaluation.voc_detection import VOC_DETECTION
from cyborgs.evaluation.voc_segmentation import VOC_SEGMENTATION
from cyborgs.evaluation.voc_svm import VOC_SVM

# In the order of tables.
EVALUATIONS: tuple[Evaluation[Any], ...] = (
    OBJECTS,
    SEGMENTATION,
    VOC_SVM,
    VOC_DETECTION,
    IMAGENET_LINEAR,
    COCO_INSTANCES,
    VOC_SEGMENTATION,
)

BY_NAME = {evaluation.name: evaluation for evaluation in EVALUATIONS}
