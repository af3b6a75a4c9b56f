"""What the user iterates."""

from datarax_mp.pipeline.pipeline import Pipeline as Pipeline
