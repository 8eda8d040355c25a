"""Publishing: the committed report, its records, its pages, the tables of the README, the site."""
