% Exactly one of four unequal events, with negated siblings in every rule.
%% answer: alone(1)  0.0336
%% answer: alone(2)  0.0756
%% answer: alone(3)  0.1296
%% answer: alone(4)  0.2016
%% answer: exactly_one  0.4404

0.1::e(1).
0.2::e(2).
0.3::e(3).
0.4::e(4).

other(I) :- e(J), J =\= I.
alone(I) :- e(I), \+ other(I).
exactly_one :- alone(_).

query(alone(_)).
query(exactly_one).
