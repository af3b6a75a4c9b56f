"""What the user iterates."""

from datarax_mp.pipeline.pipeline import Pipeline as Pipeline
from datarax_mp.pipeline.scan import scan as scan
from datarax_mp.pipeline.skips import SkippedRecord as SkippedRecord
