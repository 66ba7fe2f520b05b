% An annotated disjunction below a probabilistic body.
%% answer: mood(happy)  0.28
%% answer: mood(tired)  0.35
%% answer: flat  0.37

0.7::party.
0.4::mood(happy); 0.5::mood(tired) :- party.

flat :- \+ mood(_).

query(mood(_)).
query(flat).
