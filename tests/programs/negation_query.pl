% A negated atom as a query.
%% answer: \+a  0.65
%% answer: \+b  0.65
%% answer: b  0.35

0.35::a.
b :- a.

query(\+ a).
query(\+ b).
query(b).
