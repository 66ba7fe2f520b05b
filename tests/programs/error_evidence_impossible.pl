% Evidence on an atom that can never be true.
%% error: InconsistentEvidenceError

0.3::a.
b :- a, \+ a.

query(a).
evidence(b).
