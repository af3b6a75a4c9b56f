"""The usual augmentations of images: NumPy in, NumPy out, in the workers.

TABLE
"""

from datarax_mp.stages.image.color import ColorJitter as ColorJitter
from datarax_mp.stages.image.geometry import CenterCrop as CenterCrop
from datarax_mp.stages.image.geometry import RandomCrop as RandomCrop
from datarax_mp.stages.image.geometry import RandomFlip as RandomFlip
from datarax_mp.stages.image.geometry import RandomResizedCrop as RandomResizedCrop
from datarax_mp.stages.image.geometry import Resize as Resize
