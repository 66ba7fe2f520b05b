% All values of a complete choice are observed as false.
%% error: InconsistentEvidenceError

0.3::lamp(red); 0.7::lamp(green).
0.5::a.

query(a).
evidence(lamp(red), false).
evidence(lamp(green), false).
