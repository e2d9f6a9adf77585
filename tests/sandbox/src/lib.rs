//! A simulated InfluxDB for the tests and the quickstart.
