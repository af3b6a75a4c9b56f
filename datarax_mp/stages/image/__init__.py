"""The usual augmentations of images: uint8 (H, W, C) in, uint8 (H, W, C) out, in the workers; uint16 and masks, too.

OpenCV does the work (``pip install "datarax-mp[images]"``); crops and flips get by without. For a crop of a photo of
about 375 by 500 pixels, scaled to 224 by 224, in µs on one thread, and the mean difference to Pillow's antialiased
bilinear filter in levels:

    Pillow bilinear                    968   0.00
    Pillow box                         644   3.88
    NumPy, two matrix products        6514   0.17
    OpenCV INTER_LINEAR                133   1.56   aliases: it looks at four pixels, however many there are
    OpenCV INTER_AREA                  545   0.70
    as it is done here                 269   0.67   INTER_LINEAR to the size times 2, 4, ..., then halved

Hence OpenCV, though it is larger (about 150 MB on disk and 18 MB of memory per process, where Pillow needs 25 and 2).
At 224 by 224, ``RandomFlip`` costs 21 µs, a padded ``RandomCrop`` 24, ``ColorJitter`` 61 for brightness alone and 355
for all four changes; to crop first is cheaper. ``scripts/measure_augment.py FOLDER`` measures all this but the memory.

OpenCV chooses its instructions by the processor: on one machine an augmentation is the same to the bit in every
process, between machines a value may differ by a level.

Examples: ``[RandomResizedCrop(224), RandomFlip()]`` to train on photos, ``[Resize(256), CenterCrop(224)]`` to evaluate,
``[RandomCrop(32, padding=4), RandomFlip()]`` for small images; then ``Normalize(IMAGENET_MEAN, IMAGENET_STD)``, on the
device, after all of these. With ``both = ("image", "mask")``, ``[RandomResizedCrop(224, fields=both),
RandomFlip(fields=both)]`` keeps a mask on its image.
"""

from datarax_mp.stages.image.color import ColorJitter as ColorJitter
from datarax_mp.stages.image.geometry import CenterCrop as CenterCrop
from datarax_mp.stages.image.geometry import RandomCrop as RandomCrop
from datarax_mp.stages.image.geometry import RandomFlip as RandomFlip
from datarax_mp.stages.image.geometry import RandomResizedCrop as RandomResizedCrop
from datarax_mp.stages.image.geometry import Resize as Resize
