% A query with variables lists every answer.
%% answer: likes(ann,tea)  0.5
%% answer: likes(ann,milk)  0.4
%% answer: likes(bo,tea)  0.3
%% answer: both(tea)  0.15

0.5::likes(ann, tea).
0.4::likes(ann, milk).
0.3::likes(bo, tea).

both(D) :- likes(ann, D), likes(bo, D).

query(likes(_, _)).
query(both(_)).
