% Two values of one annotated disjunction are observed at once.
%% error: InconsistentEvidenceError

0.3::lamp(red); 0.7::lamp(green).

query(lamp(_)).
evidence(lamp(red)).
evidence(lamp(green)).
