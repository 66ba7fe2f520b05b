% The values of one annotated disjunction belong to different predicates.
%% answer: absent(lea)  0.3
%% answer: ordinary(max)  0.4
%% answer: full  0.49

person(lea).
person(max).

0.1::sick(X); 0.2::late(X); 0.3::early(X) :- person(X).

absent(X) :- sick(X).
absent(X) :- late(X).
ordinary(X) :- person(X), \+ sick(X), \+ late(X), \+ early(X).
full :- \+ absent(lea), \+ absent(max).

query(absent(lea)).
query(ordinary(max)).
query(full).
