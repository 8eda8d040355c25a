"""From records to numbers: quantities, comparisons, intervals, rankings."""
