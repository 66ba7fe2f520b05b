% One atom is observed as true and as false.
%% error: InconsistentEvidenceError

0.3::a.
0.4::b.

query(b).
evidence(a).
evidence(a, false).
