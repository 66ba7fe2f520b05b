% Evidence on a fact of probability 0.
%% error: InconsistentEvidenceError

0.0::a.
0.5::b.

query(b).
evidence(a).
