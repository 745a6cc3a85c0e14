"""Networks, releases, calibration, training and serving; nothing here knows of Spark, catalogs or databases."""
