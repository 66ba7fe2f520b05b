% An uncertain answer that still contains a variable.
%% error: NonGroundQuery

0.5::p(1).
q(X) :- \+ p(X).

query(q(_)).
