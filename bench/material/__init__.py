"""What the benchmarks measure on: models of true block shapes, real rows where they are at hand, and the measures."""
