"""What spark-submit runs: `spark-submit jobs/submit/shelfwise_job.py nightly --catalog shop.csv --run-date 2026-11-01`.

Alone in its folder, because spark-submit puts that folder first on sys.path, where a neighbour could hide a library.
"""

from jobs.cli import main

if __name__ == "__main__":
    main()
