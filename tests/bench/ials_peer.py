"""iALS of the package `implicit`, the peer of ials_bench, which starts it.

    ials_peer.py PAIRS THREADS ITERATIONS

PAIRS: native uint32, user and item in turn. Prints the seconds that a fit took, the second time.
"""
import sys
import time

import numpy
import scipy.sparse
from implicit.als import AlternatingLeastSquares

pairs = numpy.fromfile(sys.argv[1], dtype=numpy.uint32).reshape(-1, 2)
log = scipy.sparse.csr_matrix((numpy.ones(len(pairs), dtype=numpy.float32), (pairs[:, 0], pairs[:, 1])))
for _ in range(2):
    model = AlternatingLeastSquares(factors=64, iterations=int(sys.argv[3]), use_cg=True,
                                    num_threads=int(sys.argv[2]), random_state=1)
    begun = time.perf_counter()
    model.fit(log, show_progress=False)
    took = time.perf_counter() - begun
print(took)
