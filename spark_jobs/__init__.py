"""History: read Kafka ranges or archives with Spark, run the same processors, write the same documents."""
