% mod and // on the faces of a die.
%% answer: rest(0)  0.3333333333333333
%% answer: rest(1)  0.3333333333333333
%% answer: rest(2)  0.3333333333333333
%% answer: group(0)  0.3333333333333333
%% answer: group(1)  0.3333333333333333
%% answer: group(2)  0.3333333333333333
%% answer: even  0.5

1/6::face(1); 1/6::face(2); 1/6::face(3); 1/6::face(4); 1/6::face(5); 1/6::face(6).

rest(R) :- face(F), R is F mod 3.
group(G) :- face(F), G is (F - 1) // 2.
even :- face(F), 0 is F mod 2.

query(rest(_)).
query(group(_)).
query(even).
