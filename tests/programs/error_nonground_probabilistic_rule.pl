% A probabilistic rule whose body does not bind the variable of its head.
%% error: NonGroundProbabilisticClause

day(mon).
0.3::busy(X) :- day(_).

query(busy(_)).
