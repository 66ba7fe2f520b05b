"""Reports: pictures and tables of a run, as one self-contained HTML file."""
